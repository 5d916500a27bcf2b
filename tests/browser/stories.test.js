// Four stories in a browser while their connections are dropped and every node is killed, twice: each
// message that was acked is on the page, once, in order.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Numbered, start, until } from "./cluster.js";
import { STORIES, click, launch, live, open, resumes, said, state } from "./browser.js";

const DROPS = 20;
const KILLS = 2;
const EVERY = 250;

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

const make = {
  bell: (n) => `note #${n}`,
  score: (n) => ({ home: n, away: 0, minute: n % 90, text: `event #${n}` }),
  chat: (n) => ({ from: "counter", text: `message #${n}` }),
  track: (n) => ({ way: n % 101, eta: 1, text: `scan #${n}` }),
};

async function dropped(page, key) {
  for (let n = 0; n < DROPS; n += 1) {
    const before = await resumes(page, key);
    await until(`${key} to be live before drop ${n + 1}`, async () => (await state(page, key)) === "live");
    await click(page, `#${key}-drop`);
    await until(`${key} to resume after drop ${n + 1}`, async () => (await resumes(page, key)) > before);
    await sleep(500);
  }
}

async function killed(page) {
  const phase = (node) => page.locator("#nodes li").nth(node - 1).getAttribute("data-phase");
  for (let round = 0; round < KILLS; round += 1) {
    for (const node of [1, 2, 3]) {
      await click(page, `#kill-n${node}`);
      await until(`n${node} to be down`, async () => (await phase(node)) === "down");
      await sleep(3000);
      await click(page, `#start-n${node}`);
      await until(`n${node} to be up`, async () => (await phase(node)) === "up");
      await until("a leader for each shard", async () => {
        const words = await page.locator("#summary").textContent();
        return words.includes("3 of 3 nodes up, 16 of 16 shards led");
      });
      await sleep(2000);
    }
  }
}

test("dropped twenty times and every node killed twice, each story shows each message once", async () => {
  const { page, errors } = await open(browser, cluster.edges[0]);
  await live(page);
  const publishers = Object.fromEntries(STORIES.map((key) => [key, new Numbered(cluster.edges, `demo.${key}`, make[key])]));
  const traffic = Object.values(publishers).map((publisher) => publisher.run(EVERY));
  try {
    await Promise.race([
      Promise.all([...STORIES.map((key) => dropped(page, key)), killed(page)]),
      Promise.all(traffic),
    ]);
  } catch (why) {
    throw new Error(`${why.message}\n${await said(page)}\n${errors.join("\n")}\n${cluster.log()}`, { cause: why });
  }
  for (const publisher of Object.values(publishers)) publisher.on = false;
  await Promise.all(traffic);

  const verdict = [];
  for (const key of STORIES) {
    const { acked, again } = publishers[key];
    const last = acked.at(-1);
    await until(`${key} to show its last message`, () => page.evaluate(([k, p]) => window.shown[k].some((one) => one.position === p), [key, last]));
    const shown = await page.evaluate((k) => window.shown[k], key);
    const positions = shown.map((one) => one.position);
    const lost = acked.filter((position) => !positions.includes(position));
    const doubled = positions.filter((position, at) => positions.indexOf(position) !== at);
    const numbers = shown.map((one) => Number(one.text.match(/#(\d+)/)?.[1]));
    const turned = numbers.filter((number, at) => at > 0 && number <= numbers[at - 1]);
    verdict.push({ key, published: acked.length, shown: shown.length, lost: lost.length, doubled: doubled.length, turned: turned.length, again, resumes: await resumes(page, key) });
  }
  console.log(verdict.map((row) => JSON.stringify(row)).join("\n"));
  for (const row of verdict) {
    assert.deepEqual([row.lost, row.doubled, row.turned], [0, 0, 0], row.key);
    assert.equal(row.shown, row.published, row.key);
    assert.ok(row.resumes >= DROPS, row.key);
  }
  assert.deepEqual(errors, []);
});
