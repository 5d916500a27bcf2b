// A chat over one WebSocket: messages come and go on it. A message whose ack did not come is sent
// again with its key on the next socket, and takes one place.

import { at, el } from "./say.js";
import { FIRST, Story } from "./story.js";

const HEARTBEAT = 5;
// A client that hears nothing for twice the heartbeat and 5 s goes elsewhere.
const SILENCE = (2 * HEARTBEAT + 5) * 1000;
const me = `guest ${Math.floor(Math.random() * 900 + 100)}`;

export function chat(nodes) {
  const drafts = new Map();
  let ids = 0;
  let socket = null;

  const send = (id) => {
    const { key, born, data } = drafts.get(id);
    const age = Math.round(performance.now() - born);
    const frame = { type: "publish", id, topic: story.topic, data, key, key_age_ms: age };
    socket.send(JSON.stringify(frame));
  };

  const story = new Story("chat", nodes, (link) => {
    socket = open(link, {
      ready: () => [...drafts.keys()].forEach(send),
      settled: (frame) => {
        if (!drafts.has(frame.id)) return;
        // Asked again in time: another node may know, or a majority be back.
        if (frame.type === "error" && frame.advice !== "give_up") setTimeout(() => drafts.has(frame.id) && socket?.readyState === WebSocket.OPEN && send(frame.id), 1000);
        else drafts.delete(frame.id);
        if (frame.type === "ack") story.say(`Yours is number ${frame.position.split("-")[1]}, on the disks of a majority.`);
        if (frame.type === "error") story.say(frame.detail ?? frame.code);
      },
    });
  }, (message) => show(message, story));

  at("say").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = at("text").value.trim();
    if (text === "") return;
    at("text").value = "";
    drafts.set((ids += 1), { key: key(), born: performance.now(), data: { from: me, text } });
    if (socket?.readyState === WebSocket.OPEN && story.state === "live") send(ids);
    else story.say("Your message waits here until the chat is back.");
  });
  return story;
}

export const key = () => Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join("");

function open(link, { ready, settled }) {
  const { story } = link;
  const query = new URLSearchParams({ topic: story.topic, heartbeat: HEARTBEAT });
  if (story.cursor) query.set("cursor", story.cursor);
  else query.set("from", FIRST);
  const socket = new WebSocket(`${link.base.replace("http", "ws")}/v1/ws?${query}`, "fanfare.v1");
  story.meter.asked();
  let heard = performance.now();
  const watch = setInterval(() => {
    if (performance.now() - heard > SILENCE) link.lost("silent");
  }, 1000);
  link.signal.addEventListener("abort", () => {
    clearInterval(watch);
    socket.close(1000);
  });
  socket.onmessage = ({ data }) => {
    if (link.over) return;
    heard = performance.now();
    story.meter.got(data);
    const frame = JSON.parse(data);
    switch (frame.type) {
      case "subscribed":
        link.answered(frame);
        ready();
        break;
      case "items": link.items(frame.items, frame.cursor); break;
      case "ack": case "error": settled(frame); break;
      case "unsubscribed": case "disconnect":
        link.lost(frame.code, { wait: frame.retry_after_ms, stay: frame.advice === "give_up" });
        break;
      default: break; // Heartbeats, and what later nodes may say.
    }
    story.paint();
  };
  socket.onclose = () => link.lost("cut");
  return socket;
}

function show(message, story) {
  const { data } = message;
  const from = data?.from ?? "someone";
  const text = data?.text ?? (typeof data === "string" ? data : JSON.stringify(data));
  const side = from === me ? "own" : "other";
  const who = el("b", {}, from === me ? "you" : from);
  story.put(el("li", { class: side, "data-position": message.position }, who, el("span", {}, text)));
}
