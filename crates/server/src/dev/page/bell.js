// Notifications by short polling. The markup is htmx's and the node's answers are HTML with the next
// poller in them; this only says which node is asked, and counts what is swapped in.

import { at, el, gapWords, put } from "./say.js";
import { Story } from "./story.js";

const SHOWN = 30;

export function bell(nodes) {
  let waiting = null;
  let order = 0;
  let unread = 0;
  const badge = at("unread");
  const list = at("bell-list");

  // The chain of polls is htmx's own: a link says where they go while it lasts.
  const story = new Story("bell", nodes, (link) => {
    waiting = link;
    link.signal.addEventListener("abort", () => {
      const asking = list.querySelector("[hx-get]");
      asking?.dispatchEvent(new CustomEvent("htmx:abort", { bubbles: true, detail: { elt: asking } }));
    });
    // There is nothing to open: it is as good as connected until a poll fails.
    story.state = "live";
  }, () => {});

  const count = (n) => {
    unread = n;
    put(badge, String(n));
    badge.setAttribute("aria-label", `${n} unread notifications, mark as read`);
    badge.dataset.any = String(n > 0);
  };
  badge.addEventListener("click", () => count(0));
  count(0);

  list.addEventListener("htmx:configRequest", (event) => {
    waiting = story.link;
    // The very first may leave before the nodes are known: to the one that served the page.
    if (waiting === null && story.turn > 0) {
      event.preventDefault();
      return;
    }
    const { detail } = event;
    // Same path, another node; and no headers of htmx, which would cost a preflight each time.
    detail.path = (waiting?.base ?? "") + detail.path.replace(/^https?:\/\/[^/]+/, "");
    for (const name of Object.keys(detail.headers)) delete detail.headers[name];
    story.meter.asked();
  });

  list.addEventListener("htmx:afterRequest", (event) => {
    const { xhr } = event.detail;
    if (waiting?.over || !xhr) return;
    if (event.detail.successful) {
      story.meter.got(xhr.responseText);
      // Nothing new, and no swap to tell it: what had to come back has.
      if (xhr.status === 204) settle(story);
      return;
    }
    const code = xhr.responseText?.match(/data-code="(\w+)"/)?.[1];
    waiting?.lost(code ?? (xhr.status === 0 ? "cut" : "not_ready"));
  });

  // What is on the page counts, whoever put it there.
  new MutationObserver((changes) => {
    const added = changes.flatMap((change) => [...change.addedNodes]);
    const found = added.filter((node) => node.nodeType === Node.ELEMENT_NODE && node.matches("article, aside"));
    const next = added.find((node) => node.nodeType === Node.ELEMENT_NODE && node.matches("[hx-get]"));
    if (next) story.cursor = new URL(next.getAttribute("hx-get"), location.href).searchParams.get("cursor");
    for (const entry of found) {
      entry.style.order = String((order -= 1));
      take(story, entry);
    }
    if (found.length > 0 && story.list.dataset.begun) count(unread + found.length);
    if (next) settle(story);
    story.list.dataset.begun = "true";
    const all = [...list.querySelectorAll("article, aside")];
    for (const old of all.slice(0, Math.max(0, all.length - SHOWN))) old.remove();
    list.scrollTop = 0;
    if (found.length > 0) story.dispatchEvent(new Event("news"));
    story.paint();
  }).observe(list, { childList: true });

  return story;
}

/** Takes in what an answer has put on the page. */
function take(story, entry) {
  const { position, time, reason, from, to, missed } = entry.dataset;
  if (entry.matches(".fanfare-gap")) {
    story.position = to;
    const gap = { reason, from, to, missed: missed === undefined ? null : Number(missed) };
    entry.replaceChildren(el("p", {}, gapWords(gap)));
    story.say(gapWords(gap), "gap");
    return;
  }
  if (!entry.matches(".fanfare-message")) return;
  story.position = position;
  story.meter.message(story.live ? time : null);
  const when = new Date(time).toLocaleTimeString("en", { hour12: false });
  entry.append(el("time", { datetime: time }, when));
  if (story.back) story.back.missed += 1;
}

/** An answer has been taken in whole: the story is where the topic is. */
function settle(story) {
  story.failures = 0;
  if (story.back === null && !story.live) story.back = { why: "first", missed: 0 };
  if (story.back) story.resumed();
  story.paint();
}
