// The stories of htmx, whose markup is the same in 2 and 4 as far as polling goes.
import { Balancer } from "./balancer.mjs";
import { leaves } from "./faults.mjs";
import { Page } from "./page.mjs";
import { Tally } from "./tally.mjs";
import { until } from "./until.mjs";

export const COUNT = 200;
const MESSAGE = "article.fanfare-message";
const GAP = "aside.fanfare-gap";

/** Opens a page behind a balancer that prefers node 3, and lets a story look at it. */
export async function page(cluster, markup, story) {
  const balancer = await Balancer.start([3, 1, 2].map((node) => cluster.edge(node)));
  let opened;
  try {
    opened = await Page.open(`${balancer.origin}/page.html`, `<!doctype html><title>story</title>${markup}`);
    return await story(opened, balancer);
  } catch (why) {
    if (opened) why.message += `\nthe page's console: ${opened.console.slice(-10).join("\n")}`;
    throw why;
  } finally {
    await opened?.close();
    await balancer.stop();
  }
}

/** What stands in the page now, as a tally: each article once, whatever brought it. */
export async function tally(opened) {
  const tally = new Tally();
  for (const { text, position } of await opened.data(MESSAGE)) tally.take(text, position);
  for (const { reason, from, to, missed } of await opened.data(GAP)) {
    tally.gap({ reason, from, to, missed: missed === undefined ? null : Number(missed) });
  }
  return tally;
}

/** Waits until the page has `count` messages, or gaps for them, and judges. */
export async function settles(opened, count) {
  let now;
  await until("all messages in the page", async () => {
    now = await tally(opened);
    return now.seen.length + now.told() >= count;
  }).catch((why) => {
    throw new Error(`${why.message}; ${now.seen.length} came, ${now.faults(count)}`);
  });
  return now.judge(count);
}

/** Waits until the page's poller carries a cursor. */
export function follows(opened) {
  const poller = ".fanfare-poller[hx-get*='cursor=']";
  return until("a poller with a cursor", async () => (await opened.texts(poller)).length);
}

/** Stories of polling for a version of htmx, whose `<script>` this is. */
export function polling(name, script) {
  const topic = (what) => `${name.replace(" ", "")}.${what}`;
  const follower = (what, more = "") =>
    `${script}<main><div hx-get="/v1/poll?topic=${what}&format=html&follow=1${more}"
       hx-trigger="load, every 5s" hx-swap="outerHTML"></div></main>`;
  return {
    [`${name}: every 1s with the cursor carried, its node killed`](cluster) {
      return page(cluster, follower(topic("follow")), async (opened) => {
        await follows(opened);
        await cluster.publish(topic("follow"), 1, COUNT, { at: leaves(cluster, COUNT) });
        return settles(opened, COUNT);
      });
    },

    [`${name}: every 1s while each answer takes longer than that`](cluster) {
      return page(cluster, follower(topic("late")), async (opened, balancer) => {
        await follows(opened);
        balancer.late = 1500;
        await cluster.publish(topic("late"), 1, 40, { batch: 2, pause: 100 });
        return settles(opened, 40);
      });
    },

    [`${name}: long polls that follow, cut eight times`](cluster) {
      return page(cluster, follower(topic("long"), "&wait=20"), async (opened, balancer) => {
        await follows(opened);
        for (let round = 0; round < 8; round++) {
          await cluster.publish(topic("long"), round * 10 + 1, round * 10 + 10);
          balancer.cut();
        }
        return settles(opened, 80);
      });
    },

    [`${name}: a view shows the last twenty`](cluster) {
      const view = `${script}<main hx-get="/v1/poll?topic=${topic("view")}&format=html" hx-trigger="every 1s"></main>`;
      return page(cluster, view, async (opened) => {
        await cluster.publish(topic("view"), 1, 50);
        const want = Array.from({ length: 20 }, (_, at) => `${31 + at}`).join();
        await until(`31 to 50 in the page`, async () => (await opened.texts(MESSAGE)).join() === want);
        return "20 messages, the newest";
      });
    },

    [`${name}: a follower is told what retention took`](cluster) {
      return page(cluster, follower("short." + topic("gap")), async (opened, balancer) => {
        await cluster.cli("topic", "set", "short.>", "--retain-count", "20");
        await follows(opened);
        await cluster.publish("short." + topic("gap"), 1, 5);
        await until("five", async () => (await tally(opened)).seen.length === 5);
        balancer.edges = ["127.0.0.1:1"];
        balancer.cut();
        await cluster.publish("short." + topic("gap"), 6, 105, { batch: 100 });
        balancer.edges = [cluster.edge(1)];
        const said = await settles(opened, 105);
        if (!/told by a gap/.test(said)) throw new Error(`no gap: ${said}`);
        return said;
      });
    },
  };
}
