//! Polls, short and long, as JSON and HTML.

use std::time::Duration;

use fanfare_core::position::Position;
use fanfare_protocol::poll::PollBody;

use super::client::{Answer, briefs, get, send};
use crate::config::EdgeConfig;
use crate::session::stage::Theatre;
use crate::testing::NODES;

async fn opened() -> Theatre {
    Theatre::open(EdgeConfig::default()).await
}

fn body(answer: &Answer) -> PollBody {
    assert_eq!(answer.status, 200, "{}", answer.body);
    PollBody::read(answer.body.as_bytes()).unwrap()
}

/// The URL of `rel="next"`.
fn next(answer: &Answer) -> String {
    let link = answer.header("link");
    let url = link
        .strip_prefix('<')
        .and_then(|rest| rest.split_once(">; rel=\"next\""));
    url.unwrap_or_else(|| panic!("no link: {link}"))
        .0
        .to_owned()
}

#[tokio::test(start_paused = true)]
async fn a_short_poll_and_its_next_ones() {
    let theatre = opened().await;
    let head = theatre.stage.publish_all("news", &["1", "2", "3"]);
    let first = get(&theatre, "/v1/poll?topic=news", &[]).await;
    let read = body(&first);
    let epoch = head.epoch.0;
    assert_eq!(
        briefs(&read.items),
        [
            format!("{epoch}-1 1"),
            format!("{epoch}-2 2"),
            format!("{head} 3")
        ]
    );
    assert_eq!(
        (read.topics[0].answer.as_str(), read.topics[0].head),
        ("recovered", head)
    );
    assert!(!read.more);
    assert_eq!(first.header("cache-control"), "private, no-cache");
    assert_eq!(
        first.header("vary"),
        "Accept, Origin, Authorization, Cookie"
    );
    assert_eq!(
        next(&first),
        format!("/v1/poll?topic=news&cursor={}", read.cursor)
    );

    let nothing = get(&theatre, &next(&first), &[]).await;
    let same = body(&nothing);
    assert!(same.items.is_empty() && same.cursor == read.cursor && !same.more);
    let tag = first.header("etag").to_owned();
    let unchanged = get(&theatre, &next(&first), &[("if-none-match", &tag)]).await;
    assert_eq!((unchanged.status, unchanged.body.as_str()), (304, ""));
    assert_eq!(unchanged.header("etag"), tag);

    let at = theatre.stage.publish("news", "4");
    let fresh = get(&theatre, &next(&first), &[("if-none-match", &tag)]).await;
    assert_eq!(briefs(&body(&fresh).items), [format!("{at} 4")]);
    assert_ne!(fresh.header("etag"), tag);
    assert_eq!(
        theatre.stage.attachments(),
        0,
        "a short poll attaches nothing"
    );
    theatre.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_poll_is_cut_by_its_limit_and_goes_on_where_it_was_cut() {
    let theatre = opened().await;
    let texts: Vec<String> = (1..=600).map(|n| n.to_string()).collect();
    theatre.stage.publish_all(
        "news",
        &texts.iter().map(String::as_str).collect::<Vec<_>>(),
    );
    let mut url = "/v1/poll?topic=news&from=earliest&limit=250".to_owned();
    let mut sizes = Vec::new();
    let mut seen = 0;
    loop {
        let answer = get(&theatre, &url, &[]).await;
        let read = body(&answer);
        for item in briefs(&read.items) {
            seen += 1;
            assert!(item.ends_with(&format!(" {seen}")), "{item}");
        }
        sizes.push(read.items.len());
        url = next(&answer);
        if !read.more {
            break;
        }
    }
    assert_eq!(sizes, [250, 250, 100]);
    theatre.close().await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_holds_at_most_a_mebibyte_of_payload() {
    let theatre = opened().await;
    let large = "x".repeat(60_000);
    theatre.stage.publish_all("a", &[large.as_str(); 12]);
    theatre.stage.publish_all("b", &[large.as_str(); 12]);
    let url = "/v1/poll?topic=a&topic=b&from=earliest&limit=1000";
    let first = get(&theatre, url, &[]).await;
    let read = body(&first);
    assert_eq!((read.items.len(), read.more), (17, true));
    let rest = body(&get(&theatre, &next(&first), &[]).await);
    assert_eq!((rest.items.len(), rest.more), (7, false));
    theatre.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_waits_for_the_first_item() {
    let theatre = opened().await;
    let head = theatre.stage.publish("news", "1");
    let begin = theatre.deps.clock.now();
    let polled = get(&theatre, "/v1/poll?topic=news&wait=25", &[]);
    let published = async {
        theatre.deps.clock.sleep(Duration::from_secs(7)).await;
        theatre.stage.publish("news", "2")
    };
    let (answer, at) = tokio::join!(polled, published);
    assert_eq!(briefs(&body(&answer).items), [format!("{at} 2")]);
    assert_eq!((theatre.deps.clock.now() - begin).as_secs(), 7);

    let missed = theatre.stage.publish("news", "3");
    let at_once = get(&theatre, &next(&answer), &[]).await;
    assert_eq!(briefs(&body(&at_once).items), [format!("{missed} 3")]);
    assert_eq!((theatre.deps.clock.now() - begin).as_secs(), 7);
    assert!(missed > head);
    theatre.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_without_news_ends_a_little_before_its_time() {
    let theatre = opened().await;
    let begin = theatre.deps.clock.now();
    let answer = get(&theatre, "/v1/poll?topic=news&wait=10", &[]).await;
    let took = (theatre.deps.clock.now() - begin).as_millis();
    assert!((9_000..=10_100).contains(&took), "{took} ms");
    assert!(body(&answer).items.is_empty());
    theatre.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_wait_is_spent_once() {
    let theatre = opened().await;
    let head = theatre.stage.publish("news", "1");
    theatre.stage.elect(None);
    let begin = theatre.deps.clock.now();
    let url = format!("/v1/poll?topic=news&wait=10&from={head}");
    let polled = get(&theatre, &url, &[]);
    let elected = async {
        theatre.deps.clock.sleep(Duration::from_secs(4)).await;
        theatre.stage.elect(Some(NODES[0]));
    };
    let (answer, ()) = tokio::join!(polled, elected);
    let took = (theatre.deps.clock.now() - begin).as_millis();
    assert!((9_000..=10_100).contains(&took), "{took} ms");
    assert!(body(&answer).items.is_empty());
    theatre.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_passes_a_leader_that_says_nothing() {
    let theatre = opened().await;
    let seen = theatre.stage.publish("news", "1");
    let at = theatre.stage.publish("news", "2");
    theatre.stage.mute(NODES[0]);
    theatre.stage.elect(Some(NODES[1]));
    let begin = theatre.deps.clock.now();
    let url = format!("/v1/poll?topic=news&wait=20&from={seen}");
    let answer = get(&theatre, &url, &[]).await;
    assert_eq!(briefs(&body(&answer).items), [format!("{at} 2")]);
    let took = theatre.deps.clock.now() - begin;
    assert!(took < Duration::from_secs(5), "{took:?}");
    theatre.close().await;
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_head_longer_than_five_seconds() {
    let theatre = opened().await;
    theatre.stage.elect(None);
    let begin = theatre.deps.clock.now();
    let one = get(&theatre, "/v1/poll?topic=news&from=latest", &[]);
    // It shares the next question, not the one that is out.
    let other = async {
        theatre.deps.clock.sleep(Duration::from_millis(100)).await;
        get(&theatre, "/v1/poll?topic=news&from=latest", &[]).await
    };
    let (one, other) = tokio::join!(one, other);
    assert_eq!((one.status, other.status), (503, 503));
    let took = theatre.deps.clock.now() - begin;
    assert!(took < Duration::from_millis(5_500), "{took:?}");
    theatre.close().await;
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_question_that_fails_is_told() {
    let theatre = opened().await;
    theatre.stage.publish("news", "1");
    theatre.stage.crash();
    let begin = theatre.deps.clock.now();
    let url = "/v1/poll?topic=news&from=latest";
    let other = async {
        theatre.deps.clock.sleep(Duration::from_millis(50)).await;
        get(&theatre, url, &[]).await
    };
    let (one, other) = tokio::join!(get(&theatre, url, &[]), other);
    assert_eq!((one.status, other.status), (503, 503));
    let took = theatre.deps.clock.now() - begin;
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert!(body(&get(&theatre, url, &[]).await).items.is_empty());
    theatre.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_is_not_there_is_an_empty_poll_and_then_its_first_message() {
    let theatre = opened().await;
    let first = get(&theatre, "/v1/poll?topic=later", &[]).await;
    let read = body(&first);
    assert!(read.items.is_empty());
    assert_eq!(read.topics[0].head.offset.0, 0);
    let again = get(&theatre, &next(&first), &[]).await;
    assert_eq!(body(&again).cursor, read.cursor);
    let at = theatre.stage.publish("later", "born");
    let born = get(&theatre, &next(&first), &[]).await;
    assert_eq!(briefs(&body(&born).items), [format!("{at} born")]);
    theatre.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_gap_alone_is_an_answer() {
    let theatre = opened().await;
    let at = theatre.stage.publish("news", "1");
    theatre.stage.delete("news");
    let answer = get(&theatre, &format!("/v1/poll?topic=news&from={at}"), &[]).await;
    let read = body(&answer);
    let head = read.topics[0].head;
    assert_eq!(briefs(&read.items), [format!("epoch_changed {at}..{head}")]);
    assert!(
        body(&get(&theatre, &next(&answer), &[]).await)
            .items
            .is_empty()
    );
    theatre.close().await;
}

#[tokio::test(start_paused = true)]
async fn head_says_the_headers_of_the_short_poll() {
    let theatre = opened().await;
    theatre.stage.publish("news", "1");
    let full = get(&theatre, "/v1/poll?topic=news&from=earliest", &[]).await;
    let head = send(
        &theatre,
        "HEAD",
        "/v1/poll?topic=news&from=earliest&wait=50",
        &[],
    )
    .await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(head.header("etag"), full.header("etag"));
    theatre.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_least_position_is_reached_or_refused() {
    let theatre = opened().await;
    let head = theatre.stage.publish("news", "1");
    let good = get(
        &theatre,
        &format!("/v1/poll?topic=news&min_position={head}"),
        &[],
    )
    .await;
    assert_eq!(
        (body(&good).items.len(), good.header("cache-control")),
        (1, "no-store")
    );
    let beyond = Position::new(head.epoch.0, 9);
    let bad = get(
        &theatre,
        &format!("/v1/poll?topic=news&min_position={beyond}"),
        &[],
    )
    .await;
    assert_eq!((bad.status, bad.header("cache-control")), (503, "no-store"));
    theatre.close().await;
}

#[tokio::test(start_paused = true)]
async fn polls_that_all_may_read_are_cached_if_the_operator_says_so() {
    let config = EdgeConfig {
        public_polls: Some(5),
        ..EdgeConfig::default()
    };
    let theatre = Theatre::open(config).await;
    theatre.stage.publish("news", "1");
    let answer = get(&theatre, "/v1/poll?topic=news", &[]).await;
    assert_eq!(answer.header("cache-control"), "public, max-age=5");
    assert_eq!(answer.header("vary"), "Accept, Origin");
    let nothing = get(&theatre, "/v1/poll?topic=news&wait=1", &[]).await;
    assert_eq!(nothing.header("cache-control"), "no-store");
    theatre.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_page_that_follows_polls_on_and_is_left_alone_without_news() {
    let theatre = opened().await;
    let at = theatre.stage.publish("news", "2 < 3");
    let first = get(&theatre, "/v1/poll?topic=news&format=html&follow=5", &[]).await;
    assert_eq!(first.status, 200);
    assert_eq!(first.header("content-type"), "text/html; charset=utf-8");
    assert_eq!(
        first.header("content-security-policy"),
        "default-src 'none'; sandbox"
    );
    let article = format!("data-position=\"{at}\"");
    assert!(first.body.contains(&article) && first.body.contains("<p>2 &lt; 3</p>"));
    assert!(first.body.contains("class=\"fanfare-poller\"") && first.body.contains("every 5s"));
    let url = next(&first);
    assert!(
        first
            .body
            .contains(&format!("hx-get=\"{}\"", url.replace('&', "&amp;")))
    );
    let nothing = get(&theatre, &url, &[]).await;
    assert_eq!((nothing.status, nothing.body.as_str()), (204, ""));

    let waited = format!("{url}&wait=2");
    let poller = get(&theatre, &waited, &[]).await;
    assert_eq!(poller.status, 200);
    assert!(
        poller.body.starts_with("<div class=\"fanfare-poller\""),
        "{}",
        poller.body
    );
    assert!(poller.body.contains("load, every 7s"), "{}", poller.body);
    theatre.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_page_that_follows_ends_on_what_cannot_pass_and_polls_on_through_the_rest() {
    let theatre = opened().await;
    let gone = get(&theatre, "/v1/poll?topic=$vault&format=html&follow=5", &[]).await;
    assert_eq!(gone.status, 200);
    assert!(
        gone.body.starts_with("<aside class=\"fanfare-error\"") && !gone.body.contains("hx-get")
    );
    let plain = get(&theatre, "/v1/poll?topic=$vault&format=html", &[]).await;
    assert_eq!(plain.status, 401);
    let at = theatre.stage.publish("news", "hi");
    let first = get(&theatre, "/v1/poll?topic=news&format=html&follow=5", &[]).await;
    theatre.stage.elect(None);
    let later = get(&theatre, &next(&first), &[]).await;
    assert_eq!((at.offset.0, later.status), (1, 503));
    assert!(
        later.body.starts_with("<div class=\"fanfare-poller\""),
        "{}",
        later.body
    );
    theatre.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_page_that_is_opened_without_a_leader_begins_later_where_it_was_to_begin() {
    let theatre = opened().await;
    let at = theatre.stage.publish("news", "1");
    theatre.stage.publish("news", "2");
    theatre.stage.elect(None);
    let url = format!("/v1/poll?topic=news&format=html&follow=5&wait=25&from={at}");
    let first = get(&theatre, &url, &[]).await;
    // htmx 2 swaps nothing but 2xx, and the page's element asks only at its load.
    assert_eq!(
        (first.status, first.header("cache-control")),
        (200, "no-store")
    );
    assert_eq!(
        first.body,
        format!(
            "<div class=\"fanfare-poller\" hx-get=\"/v1/poll?topic=news&amp;format=html&amp;wait=25&amp;follow=5&amp;from={at}\" hx-trigger=\"every 5s\" hx-swap=\"outerHTML\"></div>"
        )
    );
    theatre.stage.elect(Some(NODES[1]));
    let (_, rest) = first.body.split_once("hx-get=\"").unwrap();
    let again = rest.split_once('"').unwrap().0.replace("&amp;", "&");
    let page = get(&theatre, &again, &[]).await;
    assert_eq!(page.status, 200);
    assert!(page.body.contains("<p>2</p>"), "{}", page.body);
    assert!(!page.body.contains("<p>1</p>"), "{}", page.body);
    theatre.close().await;
}

#[tokio::test(start_paused = true)]
async fn one_refused_topic_refuses_the_whole_poll() {
    let theatre = opened().await;
    theatre.stage.publish("news", "1");
    let answer = get(&theatre, "/v1/poll?topic=news&topic=$vault", &[]).await;
    assert_eq!(answer.status, 401);
    assert_eq!(theatre.stage.reads(), (0, 0), "nobody was asked");
    theatre.close().await;
}
