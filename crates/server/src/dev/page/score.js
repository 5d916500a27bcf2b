// A live score by long polling: a poll waits at the node until there is something, and its answer's
// cursor is the next one's question.

import { at, el, put } from "./say.js";
import { FIRST, Story } from "./story.js";

const WAIT = 20;
const SLACK = 6000;

export function score(nodes) {
  return new Story("score", nodes, (link) => void polls(link), show);
}

async function polls(link) {
  const { story } = link;
  // The first does not wait: it says where the topic stands, and gives a cursor before any message.
  let first = true;
  while (!link.over) {
    const page = await poll(link, first ? 0 : WAIT);
    if (!page || link.over) return;
    const stand = page.topics[story.topic];
    if (first) link.answered({ ...stand, cursor: page.items.length > 0 ? null : page.cursor });
    link.items(page.items, page.cursor);
    first = first && page.more;
  }
}

async function poll(link, wait) {
  const { story } = link;
  const query = new URLSearchParams({ topic: story.topic });
  if (wait > 0) query.set("wait", wait);
  if (story.cursor) query.set("cursor", story.cursor);
  else query.set("from", FIRST);
  const patience = AbortSignal.timeout(wait * 1000 + SLACK);
  try {
    story.meter.asked();
    const signal = AbortSignal.any([link.signal, patience]);
    const answer = await fetch(`${link.base}/v1/poll?${query}`, { signal, cache: "no-store" });
    const text = await answer.text();
    story.meter.got(text);
    const page = JSON.parse(text);
    if (answer.ok) return page;
    const stay = page.advice === "give_up" || page.advice === "reauthenticate";
    link.lost(page.code, { wait: page.retry_after_ms, stay });
  } catch {
    link.lost(patience.aborted ? "silent" : "cut");
  }
  return null;
}

function show(message, story) {
  const { data } = message;
  if (typeof data?.home === "number") put(at("goals"), `${data.home} : ${data.away}`);
  const minute = data?.minute === undefined ? "" : `${data.minute}′`;
  const text = data?.text ?? (typeof data === "string" ? data : JSON.stringify(data));
  story.put(el("li", { "data-position": message.position }, el("b", {}, minute), ` ${text}`));
}
