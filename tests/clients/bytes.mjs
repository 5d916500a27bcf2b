// What a transport costs on the wire: bytes of an idle minute and of a message of 100 bytes, both ways,
// above TCP, counted between client and edge. Prints rows of Markdown. `node bytes.mjs`, FANFARE_BIN.
import { resolve } from "node:path";
import { EventSource } from "eventsource";
import { WebSocket } from "ws";
import { Balancer } from "./lib/balancer.mjs";
import { Cluster } from "./lib/cluster.mjs";
import { until } from "./lib/until.mjs";

const IDLE = 60_000;
const MESSAGES = 50;
const DATA = "x".repeat(100);

/** Each takes a base URL, topic and what to do at a message; gives how to end it. */
const TRANSPORTS = {
  "WebSocket, heartbeat 15 s": (base, topic, seen) => {
    const socket = new WebSocket(`${base.replace("http", "ws")}/v1/ws?topic=${topic}`, "fanfare.v1");
    socket.on("message", (data) => (JSON.parse(data).items ?? []).forEach(seen));
    return () => socket.terminate();
  },
  "SSE, heartbeat 15 s": (base, topic, seen) => {
    const source = new EventSource(`${base}/v1/sse?topic=${topic}`);
    source.onmessage = (event) => seen(event.data);
    return () => source.close();
  },
  "NDJSON tail, heartbeat 15 s": (base, topic, seen) => {
    const stop = new AbortController();
    lines(`${base}/v1/tail?topic=${topic}`, stop.signal, (line) => line.type === "message" && seen(line));
    return () => stop.abort();
  },
  "long poll, wait 25 s": (base, topic, seen) => polls(base, `/v1/poll?topic=${topic}&from=latest&wait=25`, 0, seen),
  "short poll with `ETag`, every 5 s": (base, topic, seen) => polls(base, `/v1/poll?topic=${topic}`, 5000, seen),
};

async function lines(url, signal, take) {
  const answer = await fetch(url, { signal });
  let rest = "";
  try {
    for await (const piece of answer.body.pipeThrough(new TextDecoderStream())) {
      const all = (rest + piece).split("\n");
      rest = all.pop();
      all.forEach((line) => take(JSON.parse(line)));
    }
  } catch {
    // It was stopped.
  }
}

function polls(base, first, pause, seen) {
  let [next, tag, stopped] = [first, undefined, false];
  const step = async () => {
    while (!stopped) {
      const answer = await fetch(base + next, { headers: tag ? { "If-None-Match": tag } : {} }).catch(() => undefined);
      if (answer?.status === 200) {
        const { items } = await answer.json();
        next = answer.headers.get("link").match(/<(.*)>/)[1];
        tag = answer.headers.get("etag");
        items.forEach(seen);
      }
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  };
  step();
  return () => (stopped = true);
}

async function measure(cluster, name, open) {
  const balancer = await Balancer.start([cluster.edge(1)]);
  const topic = `bytes.${Object.keys(TRANSPORTS).indexOf(name)}`;
  let seen = 0;
  const end = open(balancer.origin, topic, () => seen++);
  await until("something came", () => balancer.down > 0);
  await new Promise((resolve) => setTimeout(resolve, 1000));
  const idle = { ...(await grown(balancer, () => new Promise((resolve) => setTimeout(resolve, IDLE)))) };
  const busy = await grown(balancer, async () => {
    for (let n = 1; n <= MESSAGES; n++) {
      await cluster.publish(topic, 1, 1, { draft: { data: DATA } });
      // One by one: what a message costs that comes alone.
      if (!name.includes("every")) await until("it came", () => seen >= n);
    }
    await until("all came", () => seen >= MESSAGES);
  });
  end();
  await balancer.stop();
  const each = (bytes) => Math.round(bytes / MESSAGES);
  return `| ${name} | ${idle.up} | ${idle.down} | ${each(busy.up)} | ${each(busy.down)} |`;
}

async function grown(balancer, during) {
  const [up, down] = [balancer.up, balancer.down];
  await during();
  return { up: balancer.up - up, down: balancer.down - down };
}

const cluster = await Cluster.start(resolve(process.env.FANFARE_BIN ?? "../../target/debug/fanfare"));
const rows = await Promise.all(Object.entries(TRANSPORTS).map(([name, open]) => measure(cluster, name, open)));
console.log("| transport | idle minute, up | down | a message of 100 bytes, up | down |\n|---|---|---|---|---|");
console.log(rows.join("\n"));
await cluster.stop();
process.exit(0);
