// npm `eventsource`, one URL behind a balancer: it comes back by itself, with `Last-Event-ID`.
import { EventSource } from "eventsource";
import { Balancer } from "../lib/balancer.mjs";
import { leaves } from "../lib/faults.mjs";
import { Tally } from "../lib/tally.mjs";
import { until } from "../lib/until.mjs";

const COUNT = 240;

/**
 * An EventSource whose messages and gaps are tallied by topic, with what it was told on attaching.
 * With several topics only the last event of a write has an id, so that what came before it may come
 * again after a cut: `drop` drops what is not above the highest position of its topic.
 */
function open(url, topics, { drop = false } = {}) {
  const source = new EventSource(url);
  const tallies = new Map(topics.map((topic) => [topic, new Tally()]));
  const answers = [];
  source.addEventListener("$subscribed", (event) => answers.push(JSON.parse(event.data)));
  source.addEventListener("$gap", (event) => {
    const gap = JSON.parse(event.data);
    tallies.get(gap.topic).gap(gap);
  });
  source.addEventListener("message", (event) => {
    const message = JSON.parse(event.data);
    const tally = tallies.get(message.topic);
    if (!drop || tally.isNew(message.position)) tally.take(message.data, message.position);
  });
  return { source, tallies, answers };
}

export const stories = {
  async "eventsource: its node is killed, another goes on after Last-Event-ID"(cluster) {
    const topic = "es.one";
    const balancer = await Balancer.start([cluster.edge(3), cluster.edge(1), cluster.edge(2)]);
    const { source, tallies, answers } = open(`${balancer.origin}/v1/sse?topic=${topic}`, [topic]);
    try {
      await until("subscribed", () => answers.length);
      await cluster.publish(topic, 1, COUNT, { at: leaves(cluster, COUNT) });
      await tallies.get(topic).reach(COUNT);
      const again = answers.slice(1).map(({ answer }) => answer);
      if (!again.length || again.some((answer) => answer !== "recovered")) {
        throw new Error(`it came back as: ${again}`);
      }
      return `${tallies.get(topic).judge(COUNT)}, came back ${again.length} times`;
    } finally {
      source.close();
      await balancer.stop();
    }
  },

  async "eventsource: three topics on one stream, cut eight times"(cluster) {
    const topics = ["es.a", "es.b", "es.c"];
    const balancer = await Balancer.start([cluster.edge(1), cluster.edge(2)]);
    const query = topics.map((topic) => `topic=${topic}`).join("&");
    const { source, tallies, answers } = open(`${balancer.origin}/v1/sse?${query}`, topics, { drop: true });
    try {
      await until("all subscribed", () => answers.length === topics.length);
      for (let round = 0; round < 8; round++) {
        const [first, last] = [round * 20 + 1, round * 20 + 20];
        await Promise.all(topics.map((topic) => cluster.publish(topic, first, last)));
        balancer.cut();
      }
      await Promise.all(topics.map((topic) => tallies.get(topic).reach(160)));
      return topics.map((topic) => tallies.get(topic).judge(160)).at(-1) + " on each of 3 topics";
    } finally {
      source.close();
      await balancer.stop();
    }
  },

  async "eventsource: what retention took while it was away is told"(cluster) {
    const topic = "short.es";
    await cluster.cli("topic", "set", "short.>", "--retain-count", "20");
    const balancer = await Balancer.start([cluster.edge(2), cluster.edge(1)]);
    const { source, tallies, answers } = open(`${balancer.origin}/v1/sse?topic=${topic}`, [topic]);
    try {
      await until("subscribed", () => answers.length);
      await cluster.publish(topic, 1, 5);
      await tallies.get(topic).reach(5);
      balancer.cut();
      await cluster.publish(topic, 6, 105, { batch: 100 });
      await tallies.get(topic).reach(105);
      if (tallies.get(topic).gaps.length === 0) throw new Error("no gap was told");
      return tallies.get(topic).judge(105);
    } finally {
      source.close();
      await balancer.stop();
    }
  },
};
