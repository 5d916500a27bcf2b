// npm `ws`: the application keeps the cursor of what it has processed and takes it to any node.
import { WebSocket } from "ws";
import { leaves } from "../lib/faults.mjs";
import { Tally } from "../lib/tally.mjs";
import { until } from "../lib/until.mjs";

const COUNT = 240;

/** A subscriber of one topic that goes on at the next node when its socket ends. */
class Subscriber {
  constructor(topic, edges) {
    Object.assign(this, { topic, edges, tally: new Tally(), answers: [], nodes: [], cursor: "", turn: 0 });
    this.connect();
  }

  connect() {
    const edge = this.edges[this.turn++ % this.edges.length];
    const url = `ws://${edge}/v1/ws?topic=${this.topic}&cursor=${this.cursor}`;
    this.socket = new WebSocket(url, "fanfare.v1");
    this.socket.on("message", (data, binary) => {
      if (binary) throw new Error("a binary frame");
      this.frame(JSON.parse(data.toString()));
    });
    this.socket.on("error", () => {});
    this.socket.on("close", () => {
      if (!this.done) this.timer = setTimeout(() => this.connect(), 50 + Math.random() * 200);
    });
  }

  frame(frame) {
    if (frame.type === "welcome") this.nodes.push(frame.node);
    if (frame.type === "subscribed") this.answers.push(frame.answer);
    for (const item of frame.items ?? []) {
      if (item.type === "message") this.tally.take(item.data, item.position);
      if (item.type === "gap") this.tally.gap(item);
    }
    // After the items: what is half processed must come again.
    if (frame.cursor) this.cursor = frame.cursor;
  }

  end() {
    this.done = true;
    clearTimeout(this.timer);
    this.socket.terminate();
  }
}

export const stories = {
  async "ws: its node is killed, the cursor goes on at another"(cluster) {
    const subscriber = new Subscriber("ws.one", [3, 1, 2].map((node) => cluster.edge(node)));
    try {
      await until("subscribed", () => subscriber.answers.length);
      await cluster.publish("ws.one", 1, COUNT, { at: leaves(cluster, COUNT) });
      await subscriber.tally.reach(COUNT);
      if (new Set(subscriber.nodes).size < 2) throw new Error(`served by ${subscriber.nodes}`);
      return `${subscriber.tally.judge(COUNT)}, by ${subscriber.nodes.join(", then ")}`;
    } finally {
      subscriber.end();
    }
  },

  async "ws: dropped at every tenth message, each time on another node"(cluster) {
    const subscriber = new Subscriber("ws.drops", [1, 2, 3].map((node) => cluster.edge(node)));
    try {
      await until("subscribed", () => subscriber.answers.length);
      const at = Object.fromEntries([...Array(10)].map((_, i) => [(i + 1) * 10, () => subscriber.socket.terminate()]));
      await cluster.publish("ws.drops", 1, 120, { at });
      await subscriber.tally.reach(120);
      const again = subscriber.answers.slice(1);
      if (again.some((answer) => answer !== "recovered")) throw new Error(`it came back as: ${again}`);
      return `${subscriber.tally.judge(120)}, came back ${again.length} times`;
    } finally {
      subscriber.end();
    }
  },

  async "ws: what retention took while it was away is told"(cluster) {
    await cluster.cli("topic", "set", "short.>", "--retain-count", "20");
    const subscriber = new Subscriber("short.ws", [1, 2].map((node) => cluster.edge(node)));
    try {
      await until("subscribed", () => subscriber.answers.length);
      await cluster.publish("short.ws", 1, 5);
      await subscriber.tally.reach(5);
      subscriber.edges = ["127.0.0.1:1"];
      subscriber.socket.terminate();
      await cluster.publish("short.ws", 6, 105, { batch: 100 });
      subscriber.edges = [cluster.edge(2)];
      await subscriber.tally.reach(105);
      if (!subscriber.tally.gaps.length) throw new Error("no gap was told");
      return subscriber.tally.judge(105);
    } finally {
      subscriber.end();
    }
  },

  async "ws: a socket that publishes and subscribes has its own messages acked and delivered"(cluster) {
    const subscriber = new Subscriber("ws.own", [cluster.edge(1)]);
    const [left, refused] = [new Map(), []];
    const send = (id) => subscriber.socket.send(JSON.stringify(left.get(id)));
    subscriber.frame = function (frame) {
      if (frame.type === "ack" && frame.reached === "durable") left.delete(frame.id);
      // A slow machine may refuse for a moment: the same draft with the same key again.
      if (frame.type === "error") frame.advice === "give_up" ? refused.push(frame) : setTimeout(send, 200, frame.id);
      Subscriber.prototype.frame.call(this, frame);
    };
    try {
      await until("subscribed", () => subscriber.answers.length);
      for (let id = 1; id <= 200; id++) {
        left.set(id, { type: "publish", id, topic: "ws.own", data: id, key: `own-${id}` });
        send(id);
      }
      await until("all acks, all durable", () => !left.size || refused.length);
      if (refused.length) throw new Error(JSON.stringify(refused[0]));
      await subscriber.tally.reach(200);
      return subscriber.tally.judge(200);
    } finally {
      subscriber.end();
    }
  },
};
