//! When and where to connect again: back-off, the next address, new credentials, or giving up
//! (protocol section 12, rule 1). A value; time and chance are arguments.

use std::time::Duration;

use fanfare_core::code::Advice;

use crate::told::{Ending, Told};

/// A session that lasted so long begins the count anew.
const GOOD: Duration = Duration::from_secs(30);
const LONGEST: Duration = Duration::from_secs(30);
const FIRST: Duration = Duration::from_millis(500);

/// A random time below min(30 s, 0.5 s × 2^`tries`). `chance` is 64 random bits.
pub fn back_off(tries: u32, chance: u64) -> Duration {
    let factor = 1_u32.checked_shl(tries.min(31)).unwrap_or(u32::MAX);
    let bound = FIRST.saturating_mul(factor).min(LONGEST);
    let bound_ms = u64::try_from(bound.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(chance % (bound_ms + 1))
}

/// What to do after an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Connect again.
    Again {
        after: Duration,
        /// To the next known address.
        elsewhere: bool,
        /// With new credentials.
        renew: bool,
    },
    /// Tell the application.
    GiveUp,
}

/// How a client fares with one purpose: a subscription, a publish stream.
#[derive(Clone, Debug, Default)]
pub struct Course {
    tries: u32,
    good_since: Option<Duration>,
    rerouted: bool,
    renewed: bool,
}

impl Course {
    /// The node has answered: from now on the session is good.
    pub fn on_good(&mut self, now: Duration) {
        self.good_since.get_or_insert(now);
    }

    /// An attempt or a session ended.
    pub fn on_end(&mut self, ending: &Ending, now: Duration, chance: u64) -> Next {
        let lasted = self
            .good_since
            .take()
            .map(|since| now.saturating_sub(since));
        if lasted.is_some_and(|lasted| lasted >= GOOD) {
            *self = Self::default();
        }
        match ending {
            // A node that does not answer may be gone, so the next one is asked.
            Ending::NotConnected(_) | Ending::Cut(_) => {
                self.again(Duration::ZERO, true, false, chance)
            }
            Ending::Told(told) => self.after_word(told, chance),
        }
    }

    fn after_word(&mut self, told: &Told, chance: u64) -> Next {
        match told.advice() {
            Advice::GiveUp => Next::GiveUp,
            Advice::Reauthenticate if self.renewed => Next::GiveUp,
            Advice::Reauthenticate => {
                self.renewed = true;
                self.again(told.retry_after(), false, true, chance)
            }
            Advice::Reroute if !self.rerouted => {
                self.rerouted = true;
                Next::Again {
                    after: Duration::ZERO,
                    elsewhere: true,
                    renew: false,
                }
            }
            Advice::Reroute => self.again(told.retry_after(), true, false, chance),
            Advice::RetryLater | Advice::RetrySameKey => {
                self.again(told.retry_after(), false, false, chance)
            }
        }
    }

    fn again(&mut self, asked: Duration, elsewhere: bool, renew: bool, chance: u64) -> Next {
        let after = back_off(self.tries, chance).saturating_add(asked);
        self.tries = self.tries.saturating_add(1);
        Next::Again {
            after,
            elsewhere,
            renew,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn told(json: &str) -> Ending {
        Told::of_http(503, json.as_bytes()).into()
    }

    fn cut() -> Ending {
        Ending::Cut("reset".to_owned())
    }

    fn waits(next: Next) -> Duration {
        match next {
            Next::Again { after, .. } => after,
            Next::GiveUp => panic!("gave up"),
        }
    }

    #[test]
    fn back_off_doubles_up_to_half_a_minute_and_is_random() {
        let longest = |tries: u32| (0..=40_000).map(|chance| back_off(tries, chance)).max();
        assert_eq!(longest(0), Some(S / 2));
        assert_eq!(longest(3), Some(4 * S));
        assert_eq!(longest(6), Some(30 * S));
        assert_eq!(longest(1_000), Some(30 * S));
        assert_eq!(back_off(5, 0), Duration::ZERO);
        assert_ne!(back_off(5, 1_234), back_off(5, 4_321));
    }

    #[test]
    fn each_cut_waits_longer_until_half_a_minute_was_good() {
        let mut course = Course::default();
        let chance = 500;
        assert_eq!(waits(course.on_end(&cut(), S, chance)), S / 2);
        course.on_good(2 * S);
        assert_eq!(course.tries, 1);
        course.on_end(&cut(), 31 * S, chance);
        assert_eq!(course.tries, 2, "29 s were not enough");
        course.on_good(40 * S);
        course.on_end(&cut(), 70 * S, chance);
        assert_eq!(course.tries, 1, "30 s begin anew");
    }

    #[test]
    fn a_node_that_leaves_sends_us_elsewhere_at_once_but_only_once() {
        let draining = told(r#"{"code":"draining","advice":"reroute","retry_after_ms":800}"#);
        let mut course = Course::default();
        let at_once = Next::Again {
            after: Duration::ZERO,
            elsewhere: true,
            renew: false,
        };
        assert_eq!(course.on_end(&draining, S, 77), at_once);
        let later = course.on_end(&draining, 2 * S, 77);
        assert_eq!(
            later,
            Next::Again {
                after: Duration::from_millis(877),
                elsewhere: true,
                renew: false
            }
        );
    }

    #[test]
    fn what_a_node_asks_to_wait_is_added() {
        let busy = told(r#"{"code":"overloaded","retry_after_ms":1500}"#);
        let mut course = Course::default();
        let next = course.on_end(&busy, S, 100);
        assert_eq!(
            next,
            Next::Again {
                after: Duration::from_millis(1600),
                elsewhere: false,
                renew: false
            }
        );
    }

    #[test]
    fn credentials_are_renewed_once_and_then_the_application_is_told() {
        let expired = told(r#"{"code":"token_expired"}"#);
        let mut course = Course::default();
        assert!(matches!(
            course.on_end(&expired, S, 0),
            Next::Again { renew: true, .. }
        ));
        assert_eq!(course.on_end(&expired, S, 0), Next::GiveUp);
        course.on_good(S);
        assert!(matches!(
            course.on_end(&expired, 60 * S, 0),
            Next::Again { renew: true, .. }
        ));
    }

    #[test]
    fn what_repeating_cannot_help_is_told() {
        let mut course = Course::default();
        assert_eq!(
            course.on_end(&told(r#"{"code":"forbidden"}"#), S, 0),
            Next::GiveUp
        );
        let close = Ending::from(Told::of_close(4_700, ""));
        assert_eq!(course.on_end(&close, S, 0), Next::GiveUp);
    }
}
