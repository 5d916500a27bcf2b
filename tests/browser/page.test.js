// What the demo page does besides: gaps in words, cursors by keyboard, a chat that speaks, nodes that
// fall silent or leave no majority, the real htmx in place of the stand-in, and small screens.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { start, until } from "./cluster.js";
import { STORIES, launch, live, notice, open, resumes } from "./browser.js";

let cluster;
let browser;
before(async () => {
  cluster = await start();
  browser = await launch();
});
after(async () => {
  await browser?.close();
  await cluster?.stop();
});

/** Until it is acked: an election may be on. The text is its key, so that it takes one place. */
const publish = (edge, topic, body) => until(`an ack for ${body}`, async () => {
  const headers = { "Content-Type": "text/plain", "Idempotency-Key": body.replaceAll(" ", "-") };
  const answer = await fetch(`${edge}/v1/publish?topic=${topic}`, { method: "POST", body, headers });
  await answer.text();
  return answer.ok;
});
const phase = (page, node) => page.locator("#nodes li").nth(node - 1).getAttribute("data-phase");
const becomes = (page, node, wanted) => until(`n${node} to be ${wanted}`, async () => (await phase(page, node)) === wanted);
const told = (page, key, words) => until(`${key} to say ${words}`, async () => (await notice(page, key)).includes(words));

test("its command publishes into the chat, and the chat answers over its socket", async () => {
  const { page, errors, context } = await open(browser, cluster.edges[1]);
  await live(page);
  const [, url, text] = (await page.locator("#curl").textContent()).match(/^curl '(.+)' -d '(.+)'$/);
  await until("an ack", async () => (await fetch(url, { method: "POST", body: text, headers: { "Content-Type": "application/x-www-form-urlencoded" } })).ok);
  await page.locator("#chat-list li", { hasText: "hello" }).waitFor();
  await page.locator("#text").fill("<b>not bold</b>");
  await page.keyboard.press("Enter");
  await page.locator("#chat-list li.own", { hasText: "<b>not bold</b>" }).waitFor();
  await told(page, "chat", "on the disks of a majority");
  assert.deepEqual(errors, []);
  await context.close();
});

test("made busy, all four stories move and the table has figures", async () => {
  const { page, errors, context } = await open(browser, cluster.edges[0]);
  await live(page);
  await page.locator("#busy").click();
  for (const key of STORIES) {
    await until(`two entries of ${key}`, () => page.evaluate((k) => window.shown[k].length > 1, key));
  }
  await until("all figures", async () => {
    const cells = await page.locator("#figures [data-figure]").allTextContents();
    return cells.length === 16 && cells.every((cell) => cell !== "–");
  });
  await page.locator("#busy").click();
  assert.deepEqual(errors, []);
  await context.close();
});

test("the whole cursor is shown to those who hover and to those who have a keyboard", async () => {
  const { page, errors, context } = await open(browser, cluster.edges[0]);
  await live(page);
  await publish(cluster.edges[0], "demo.track", "one");
  await page.locator("#track-list li", { hasText: "one" }).waitFor();
  const whole = page.locator("#track-cursor");
  assert.equal(await whole.isVisible(), false);
  await page.locator("#track .chip").focus();
  assert.match(await whole.textContent(), /^AQ[\w-]{20}/);
  assert.equal(await whole.isVisible(), true);
  await page.keyboard.press("Escape");
  assert.equal(await whole.isVisible(), false);
  await page.locator("#track .chip").hover();
  assert.equal(await whole.isVisible(), true);
  assert.deepEqual(errors, []);
  await context.close();
});

test("who stayed away longer than the topic keeps is told how much is left out", async () => {
  const { page, errors, context } = await open(browser, cluster.edges[0]);
  await live(page);
  await publish(cluster.edges[0], "demo.track", "before");
  await page.locator("#track-list li", { hasText: "before" }).waitFor();
  await page.locator("#flood").click();
  await until("the gap", () => page.evaluate(() => window.shown.track.some((one) => /^20 messages are left out/.test(one.text))));
  await until("all that is kept", () => page.evaluate(() => window.shown.track.filter((one) => /whole warehouse/.test(one.text)).length === 1000));
  await told(page, "track", "1,000 missed messages delivered");
  assert.deepEqual(errors, []);
  await context.close();
});

test("without a majority it says so, the last node is safe from its buttons, and all comes back", async () => {
  const { page, errors, context } = await open(browser, cluster.edges[0]);
  await live(page);
  // The node that served the page first.
  for (const node of [1, 2]) {
    await page.locator(`#kill-n${node}`).click();
    await becomes(page, node, "down");
  }
  await page.locator("#summary", { hasText: "Without a majority" }).waitFor();
  assert.equal(await page.locator("#kill-n3").isDisabled(), true);
  for (const node of [1, 2]) {
    await page.locator(`#start-n${node}`).click();
  }
  for (const node of [1, 2]) await becomes(page, node, "up");
  await live(page);
  await publish(cluster.edges[0], "demo.chat", "back again");
  await page.locator("#chat-list li", { hasText: "back again" }).waitFor();
  assert.deepEqual(errors, []);
  await context.close();
});

test("a node that falls silent is left, by streams too", async () => {
  const { page, errors, context } = await open(browser, cluster.edges[0]);
  await live(page);
  const on = (key) => page.locator(`#${key} .where`).textContent();
  const silent = Number((await on("track")).match(/n(\d)/)[1]);
  const before = await resumes(page, "track");
  await page.locator(`#pause-n${silent}`).click();
  await becomes(page, silent, "paused");
  await until("the tracker elsewhere", async () => (await resumes(page, "track")) > before && !(await on("track")).includes(`n${silent}`));
  await page.locator(`#resume-n${silent}`).click();
  await becomes(page, silent, "up");
  assert.deepEqual(errors, []);
  await context.close();
});

test("the real htmx in place of the stand-in: the same markup, the same cursor, over a killed node", async () => {
  const { page, errors, context } = await open(browser, cluster.edges[0], { htmx: "node_modules/htmx2/dist/htmx.min.js" });
  await live(page);
  assert.equal(await page.evaluate(() => window.htmx.version.split(".")[0]), "2");
  await publish(cluster.edges[1], "demo.bell", "real one");
  await page.locator("#bell-list article", { hasText: "real one" }).waitFor();
  await page.locator("#kill-n1").click();
  await becomes(page, 1, "down");
  await publish(cluster.edges[1], "demo.bell", "real two");
  await page.locator("#bell-list article", { hasText: "real two" }).waitFor();
  await page.locator("#start-n1").click();
  await becomes(page, 1, "up");
  const texts = await page.evaluate(() => window.shown.bell.map((one) => one.text).filter((text) => text.startsWith("real")));
  assert.equal(texts.length, 2, texts.join());
  // htmx itself logs failed polls, and reads headers that an answer from elsewhere does not show.
  const known = /^Refused to get unsafe header|^Response Status Error|^htmx:(afterRequest|sendError|sendAbort|timeout|responseError)/;
  assert.deepEqual(errors.filter((error) => !known.test(error)), []);
  await context.close();
});

test("on a phone nothing is wider than the screen, and every button has a name and room for a thumb", async () => {
  const { page, errors, context } = await open(browser, cluster.edges[0], { viewport: { width: 360, height: 780 }, colorScheme: "dark", reducedMotion: "reduce", hasTouch: true });
  await live(page);
  const wide = await page.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(wide <= 360, `${wide} px wide`);
  const poor = await page.evaluate(() => [...document.querySelectorAll("button:not([hidden]), input")]
    .filter((one) => one.offsetParent)
    .filter((one) => !(one.textContent.trim() || one.labels?.length || one.getAttribute("aria-label")) || one.offsetHeight < 28)
    .map((one) => one.outerHTML));
  assert.deepEqual(poor, []);
  assert.deepEqual(errors, []);
  await context.close();
});
