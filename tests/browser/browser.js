// Debian's Chromium with the demo page in it, and what a test wants to know of the page: the entries
// it ever showed, and what it wrote to the console.

import { chromium } from "playwright-core";
import { readFileSync } from "node:fs";

export const STORIES = ["bell", "score", "chat", "track"];

export const launch = () => chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  headless: true,
  args: ["--no-sandbox", "--disable-dev-shm-usage"],
});

// Chromium itself writes these when a connection is refused or breaks, as it does to nodes that were
// killed. No page can keep it from that; everything else is an error of ours.
const NETWORK = [
  /^Failed to load resource: net::ERR_/,
  /^Failed to load resource: the server responded with a status of 50[34]/,
  /^WebSocket connection to '.*' failed/,
  /net::ERR_(CONNECTION_REFUSED|CONNECTION_RESET|EMPTY_RESPONSE|INCOMPLETE_CHUNKED_ENCODING|SOCKET_NOT_CONNECTED)/,
];

/** A page that watches from its first moment what is put on its lists. */
export async function open(browser, url, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1360, height: 900 }, ...options });
  const page = await context.newPage();
  const errors = [];
  page.on("console", (message) => {
    const text = message.text();
    if (!["error", "warning"].includes(message.type())) return;
    if (!NETWORK.some((known) => known.test(text))) errors.push(text);
  });
  page.on("pageerror", (error) => errors.push(`${error.name}: ${error.message}`));
  await page.addInitScript((stories) => {
    window.shown = Object.fromEntries(stories.map((key) => [key, []]));
    document.addEventListener("DOMContentLoaded", () => {
      for (const key of stories) {
        new MutationObserver((changes) => {
          for (const node of changes.flatMap((change) => [...change.addedNodes])) {
            const { position } = node.dataset ?? {};
            if (position || node.matches?.("aside")) window.shown[key].push({ position: position ?? null, text: node.textContent });
          }
        }).observe(document.getElementById(`${key}-list`), { childList: true });
      }
    });
  }, STORIES);
  if (options.htmx) {
    const script = readFileSync(new URL(options.htmx, import.meta.url), "utf8");
    await page.route("**/dev/page/htmx.js", (route) => route.fulfill({ contentType: "text/javascript", body: script }));
  }
  // A slow machine is no failure.
  page.setDefaultTimeout(120_000);
  await page.goto(url);
  return { page, errors, context };
}

export const live = (page, limit = 120_000) => page.waitForFunction(
  (stories) => stories.every((key) => document.getElementById(key).dataset.state === "live"),
  STORIES,
  { timeout: limit },
);

let hand = Promise.resolve();

/** Clicks, one after the other: a page has one mouse, and two at once click in each other's places. */
export function click(page, selector) {
  const done = hand.then(() => page.locator(selector).click({ timeout: 120_000 }));
  hand = done.catch(() => {});
  return done;
}

export const state = (page, key) => page.locator(`#${key}`).getAttribute("data-state");
export const resumes = async (page, key) => Number((await page.locator(`#${key}`).getAttribute("data-resumes")) ?? 0);
export const notice = (page, key) => page.locator(`#${key} .notice`).textContent();

/** What the page says of itself, for the message of a failure. */
export const said = (page) => page.evaluate(() => [
  document.getElementById("summary").textContent,
  ...[...document.querySelectorAll("#nodes li")].map((row) => row.querySelector("p").textContent),
  ...[...document.querySelectorAll(".story")].map((card) =>
    `${card.id}: ${card.querySelector(".where").textContent} | ${card.querySelector(".notice").textContent} | resumed ${card.dataset.resumes}`),
].join("\n"));
