/**
 * Events for other programs: a message for each entry of the audit log that is an event (`message`, `messages`),
 * and the log as a feed for those that listen (`feed`). The webhook sends the same messages. See `docs/events.md`.
 */

import { EventFeed, type FeedParts } from './feed.ts';
import { createMessages, type Messages, type MessagesParts } from './messages.ts';

export interface PublishedEvents extends AsyncDisposable {
  readonly messages: Messages;
  readonly feed: EventFeed;
}

export function openEvents(parts: MessagesParts & Omit<FeedParts, 'messages'>): PublishedEvents {
  const messages = createMessages(parts);
  const feed = new EventFeed({ ...parts, messages });
  return { messages, feed, [Symbol.asyncDispose]: () => feed[Symbol.asyncDispose]() };
}
