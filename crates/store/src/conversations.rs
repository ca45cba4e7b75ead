//! Conversations: messages in order, an answer's message with its trace.

use serde::{Deserialize, Serialize};

use crate::rows::{maybe_text, on_pool, readable, text, words};
use crate::{Store, StoreError, new_id, now_ms};

/// A conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conversation {
    /// Its name.
    pub id: String,
    /// What it is about.
    pub title: String,
    /// Whose it is.
    pub owner: Option<String>,
    /// When it was begun.
    pub created_ms: i64,
}

readable!(Conversation {
    id,
    title,
    owner,
    created_ms
});

words! {
    /// Who says a message.
    Speaker {
        /// The asker.
        User = "user",
        /// Footnote.
        Assistant = "assistant",
    }
}

/// A message to be added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewMessage {
    /// Who.
    pub role: Speaker,
    /// What.
    pub content: String,
    /// The answer's trace.
    pub trace_id: Option<String>,
}

/// A message as kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConversationMessage {
    /// The conversation.
    pub conversation_id: String,
    /// Its place, from 0.
    pub position: i64,
    /// Who.
    pub role: Speaker,
    /// What.
    pub content: String,
    /// The answer's trace.
    pub trace_id: Option<String>,
    /// When.
    pub created_ms: i64,
}

readable!(ConversationMessage {
    conversation_id, position, content, trace_id, created_ms,
} word { role });

impl Store {
    /// Begins a conversation.
    ///
    /// # Errors
    /// Where the database refuses.
    pub async fn begin_conversation(
        &self,
        title: &str,
        owner: Option<&str>,
    ) -> Result<Conversation, StoreError> {
        on_pool!(self, pool => sqlx::query_as::<_, Conversation>(
            "insert into conversations (id, title, owner, created_ms) values ($1, $2, $3, $4) returning *"
        )
        .bind(new_id())
        .bind(text(title))
        .bind(maybe_text(owner))
        .bind(now_ms())
        .fetch_one(pool)
        .await)
        .map_err(StoreError::query("begin a conversation"))
    }

    /// Adds a message at the end; two at once both get a place.
    ///
    /// # Errors
    /// [`StoreError::Missing`] where the conversation is not there.
    pub async fn add_message(
        &self,
        conversation_id: &str,
        message: &NewMessage,
    ) -> Result<ConversationMessage, StoreError> {
        loop {
            let added = on_pool!(self, pool => sqlx::query_as::<_, ConversationMessage>(
                "insert into messages (conversation_id, position, role, content, trace_id, created_ms)
                 select c.id, coalesce((select max(m.position) + 1 from messages m where m.conversation_id = c.id), 0),
                     $2, $3, $4, $5
                 from conversations c where c.id = $1
                 returning *"
            )
            .bind(text(conversation_id))
            .bind(message.role.word())
            .bind(text(&message.content))
            .bind(maybe_text(message.trace_id.as_deref()))
            .bind(now_ms())
            .fetch_optional(pool)
            .await);
            match added {
                Ok(Some(message)) => return Ok(message),
                Ok(None) => {
                    return Err(StoreError::Missing {
                        what: "conversation",
                        id: conversation_id.to_owned(),
                    });
                }
                // Another took the place in between, so one of the two has moved on: this ends.
                Err(sqlx::Error::Database(error)) if error.is_unique_violation() => {}
                Err(error) => return Err(StoreError::query("add a message")(error)),
            }
        }
    }

    /// A conversation's messages in order.
    ///
    /// # Errors
    /// Where the database refuses.
    pub async fn messages(
        &self,
        conversation_id: &str,
    ) -> Result<Vec<ConversationMessage>, StoreError> {
        on_pool!(self, pool => sqlx::query_as::<_, ConversationMessage>(
            "select * from messages where conversation_id = $1 order by position"
        )
        .bind(text(conversation_id))
        .fetch_all(pool)
        .await)
        .map_err(StoreError::query("read a conversation"))
    }
}
