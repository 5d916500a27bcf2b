// A parcel on its way, by server-sent events. The browser's own EventSource reads them; the page
// only takes it to another node when one is gone, with the last id as the cursor.

import { at, el, pause, put } from "./say.js";
import { FIRST, Story } from "./story.js";

const HEARTBEAT = 5;
const QUIET = 9000;
const PATIENCE = 4000;
const JOIN = 9000;

export function track(nodes) {
  return new Story("track", nodes, open, show);
}

function open(link) {
  const { story } = link;
  const query = new URLSearchParams({ topic: story.topic, heartbeat: HEARTBEAT });
  if (story.cursor) query.set("cursor", story.cursor);
  else query.set("from", FIRST);
  const source = new EventSource(`${link.base}/v1/sse?${query}`);
  story.meter.asked();
  link.signal.addEventListener("abort", () => source.close());
  let heard = performance.now();
  const on = (name, take) => source.addEventListener(name, (event) => {
    if (link.over) return;
    heard = performance.now();
    // As on the wire: id, event and data, each with its name and the ends of its lines.
    story.meter.got(event.data.length + event.lastEventId.length + (name === "message" ? 14 : 22 + name.length));
    take(JSON.parse(event.data), event.lastEventId);
    story.paint();
  });
  on("$subscribed", (answer, cursor) => link.answered({ ...answer, cursor }));
  on("message", (message, cursor) => link.items([message], cursor));
  on("$gap", (gap, cursor) => link.items([gap], cursor));
  on("$disconnect", ({ code, advice, retry_after_ms: wait }) => link.lost(code, { wait, stay: advice === "give_up" }));
  // The browser would try the same node for ever.
  source.onerror = () => link.lost("cut");
  void listen(link, () => heard);
}

/** Heartbeats are comments, which a page does not see: after a silence it asks whether the node is there. */
async function listen(link, heard) {
  const { story } = link;
  await pause(JOIN, link.signal);
  if (!link.over && story.state === "joining") link.lost("silent");
  while (!link.over) {
    await pause(2000, link.signal);
    if (link.over || performance.now() - heard() < QUIET) continue;
    try {
      story.meter.asked();
      const signal = AbortSignal.any([link.signal, AbortSignal.timeout(PATIENCE)]);
      await fetch(`${link.base}/v1/poll?topic=${story.topic}&limit=1`, { method: "HEAD", signal });
      await pause(QUIET, link.signal);
    } catch {
      link.lost("silent");
    }
  }
}

function show(message, story) {
  const { data } = message;
  if (typeof data?.way === "number") {
    at("way").value = data.way;
    put(at("eta"), data.way >= 100 ? "delivered" : `${data.eta} min away`);
  }
  const text = data?.text ?? (typeof data === "string" ? data : JSON.stringify(data));
  story.put(el("li", { "data-position": message.position }, text));
}
