//! How many at once: requests in all and of one caller. One too many is told so at once, with a time to come back;
//! nothing waits without a bound. What a request holds it holds until its body is sent, streams included.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::StreamExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::auth::Caller;
use crate::error::ApiError;
use crate::state::App;

/// Callers that are remembered at once; idle ones are forgotten before.
const CALLERS_MAX: usize = 4_096;

/// The places that requests take.
#[derive(Debug)]
pub struct Places {
    all: Arc<Semaphore>,
    each: Mutex<HashMap<String, Arc<Semaphore>>>,
    per_key: usize,
}

impl Places {
    /// Places for `all` requests, `per_key` of them for one caller.
    pub fn new(all: usize, per_key: usize) -> Places {
        Places {
            all: Arc::new(Semaphore::new(all)),
            each: Mutex::default(),
            per_key,
        }
    }

    /// How many more requests would be taken.
    pub fn free(&self) -> usize {
        self.all.available_permits()
    }

    fn take(&self, bucket: &str) -> Result<[OwnedSemaphorePermit; 2], ApiError> {
        let mine = {
            let mut each = self.each.lock().unwrap_or_else(PoisonError::into_inner);
            if each.len() >= CALLERS_MAX {
                each.retain(|_, places| Arc::strong_count(places) > 1);
            }
            if each.len() >= CALLERS_MAX {
                return Err(ApiError::too_many("too many callers at once; try again", 2));
            }
            Arc::clone(
                each.entry(bucket.to_owned())
                    .or_insert_with(|| Arc::new(Semaphore::new(self.per_key))),
            )
        };
        let mine = mine.try_acquire_owned().map_err(|_| {
            ApiError::too_many(
                format!(
                    "{} requests of this caller are in hand already; wait for one of them",
                    self.per_key
                ),
                1,
            )
        })?;
        let all = Arc::clone(&self.all)
            .try_acquire_owned()
            .map_err(|_| ApiError::too_many("the server is full; try again", 2))?;
        Ok([mine, all])
    }
}

/// The middleware; behind the key check.
pub async fn place(
    State(app): State<App>,
    caller: Caller,
    request: Request,
    next: Next,
) -> Response {
    let permits = match app.places.take(&caller.bucket) {
        Ok(permits) => permits,
        Err(error) => return error.into_response(),
    };
    let response = next.run(request).await;
    let (parts, body) = response.into_parts();
    let body = body.into_data_stream().map(move |part| {
        let _held = &permits;
        part
    });
    Response::from_parts(parts, Body::from_stream(body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_caller_cannot_take_all_places_and_all_callers_not_more_than_there_are() {
        let places = Places::new(3, 2);
        let held = [places.take("a").unwrap(), places.take("a").unwrap()];
        assert_eq!(
            places.take("a").unwrap_err().code.word(),
            "too_many_requests"
        );
        let other = places.take("b").unwrap();
        assert!(places.take("c").unwrap_err().message.contains("full"));
        drop(held);
        assert!(places.take("c").is_ok());
        drop(other);
        assert_eq!(places.free(), 3);
    }
}
