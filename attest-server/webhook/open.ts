/**
 * Reports events to one receiver. The audit log is the queue, with the webhook as one of its readers (`deliveries`);
 * each event becomes a signed message (`post`). See `docs/events.md`.
 */

import { randomUUID } from 'node:crypto';
import type { AuditReader } from '../audit/reader.ts';
import type { EncodedMessage } from '../events/message.ts';
import type { Messages } from '../events/messages.ts';
import type { AuditEvent } from '../formats/audit.ts';
import { storageCauseOf } from '../formats/server-fault.ts';
import type { WebhookTestView, WebhookView } from '../formats/webhook.ts';
import { Deliveries, type DeliveryBounds, type DeliveryReport } from './deliveries.ts';
import { type Endpoint, readEndpoint, type WebhookConfig } from './endpoint.ts';
import { post } from './post.ts';

export interface WebhookParts {
  readonly log: AuditReader;
  readonly messages: Messages;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Monotonic milliseconds. */
  readonly monotonic: () => number;
  readonly audit: (event: AuditEvent) => Promise<void>;
  readonly report: DeliveryReport;
}

/** Intervals in milliseconds, and the bounds of the queue. */
export interface WebhookTimings extends Partial<DeliveryBounds> {
  readonly lookEvery?: number;
  /** The timeout of one attempt. */
  readonly within?: number;
}

/** The webhook of a running server. */
export interface Webhook extends AsyncDisposable {
  /** Null if no webhook is configured. */
  readonly told: {
    shown(): WebhookView;
    /** Sends one message now, ahead of the queue. */
    test(by: string): Promise<WebhookTestView>;
  } | null;
  /** How many events wait, and when the oldest happened, in milliseconds since the epoch. */
  figures(): { readonly waiting: number; readonly oldest: number | null };
  /** Reads secrets and authorities again; if they are faulty, the earlier ones stay. @throws Error that names the file */
  read(): void;
}

/** @throws Error if secrets or authorities cannot be read */
export async function openWebhook(
  config: WebhookConfig | null,
  parts: WebhookParts,
  timings: WebhookTimings = {},
): Promise<Webhook> {
  if (config === null) {
    // Else the receiver of another day would be told what happened meanwhile.
    if ((await parts.log.position()) !== null)
      await parts.log.setPosition(null).catch((error: unknown) => parts.report.fault(error, 'webhook'));
    return {
      told: null,
      figures: () => ({ waiting: 0, oldest: null }),
      read: () => {},
      async [Symbol.asyncDispose]() {},
    };
  }
  const { log, messages, now, monotonic, audit, report } = parts;
  const { lookEvery = 1000, within = 10_000, ...bounds } = timings;
  let endpoint: Endpoint = readEndpoint(config);
  const ended = new AbortController();
  const send = (message: EncodedMessage) =>
    post(message.id, message.body, { endpoint, now: now(), within, signal: ended.signal });
  const deliveries = await Deliveries.open({
    log,
    messages,
    post: send,
    now,
    monotonic,
    random: Math.random,
    audit,
    report,
    bounds,
  });
  const noted = (work: Promise<void>) =>
    work.catch((error: unknown) => {
      // Why nothing can be read or stored is said elsewhere; it goes on by itself.
      if (storageCauseOf(error) === null) report.fault(error, 'webhook');
    });
  let turning: Promise<void> | null = null;
  const turn = () => {
    turning ??= noted(deliveries.turn(ended.signal)).finally(() => {
      turning = null;
    });
  };
  const noMore = log.onMore(() => {
    void noted(deliveries.look(true));
    turn();
  });
  // Nothing is read by it: what was not taken is tried again, and what is too old is dropped.
  const timer = setInterval(turn, lookEvery);
  return {
    told: {
      shown: () => ({
        to: endpoint.url.origin,
        waiting: deliveries.length,
        oldestAt: rfc3339(deliveries.oldest),
        deliveredAt: rfc3339(deliveries.state.deliveredAt),
        fault: deliveries.state.fault,
        dropped: deliveries.state.dropped,
      }),
      async test(by) {
        const started = monotonic();
        const { result, status, text } = await send(messages.trial(`test_${randomUUID()}`, now(), by));
        const milliseconds = Math.round(monotonic() - started);
        return { delivered: result === 'delivered', status, text, milliseconds };
      },
    },
    figures: () => ({ waiting: deliveries.length, oldest: deliveries.oldest }),
    read() {
      endpoint = readEndpoint(config);
    },
    async [Symbol.asyncDispose]() {
      clearInterval(timer);
      noMore();
      ended.abort(new Error('the server ends'));
      await turning;
      await noted(deliveries.look());
    },
  };
}

function rfc3339(at: number | null): string | null {
  return at === null ? null : new Date(at).toISOString();
}
