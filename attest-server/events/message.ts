import type { AuditEntry } from '../formats/audit.ts';
import {
  type EventMessage,
  type EventName,
  loggedEvents,
  mostMessageBytes,
  mostReasons,
} from '../formats/event.ts';
import { outsideText } from '../wire/printable.ts';
import { classOf, isReasonCode } from '../wire/reasons.ts';
import { type NodeState, nodeStates, type Verdict } from '../wire/verdict.ts';

export interface EncodedMessage extends Pick<EventMessage, 'id' | 'event' | 'node' | 'subject'> {
  /** The message as JSON. */
  readonly body: string;
}

/** The verdict that an entry is about, and the state before it. */
export interface Transition {
  readonly verdict: Verdict;
  readonly from: NodeState | null;
}

const mostDetails = 20;

/**
 * The message about an entry of the audit log; null if the entry is no event. The same entry always gives the same id,
 * and another entry under its number, as after a restored backup, gives another one.
 * @param cluster its uid; null while it is not known
 */
export function messageOf(
  entry: AuditEntry,
  transition: Transition | null,
  cluster: string | null,
): EncodedMessage | null {
  const event = eventOf(entry.action);
  if (event === null) return null;
  const { isOfNode, says, next } = loggedEvents[event];
  const { at, actor, subject, code, detail } = entry;
  const node = isOfNode ? outsideText(subject) : null;
  const all = transition?.verdict.reasons ?? [];
  const reasons = all
    .slice(0, mostReasons)
    .map((reason) => ({ code: reason.code, class: reason.class, text: outsideText(reason.text) }));
  const state = stateIn(event, transition, detail);
  const own = typeof detail.text === 'string' ? outsideText(detail.text) : says;
  return encode({
    id: idOf(entry),
    at: new Date(at).toISOString(),
    event,
    cluster,
    node,
    subject: outsideText(subject),
    state,
    from: transition?.from ?? null,
    reasons: reasons.length === 0 ? codeAlone(code, own) : reasons,
    moreReasons: all.length - reasons.length,
    text: event === 'node.state' ? (reasons[0]?.text ?? `the node is ${state ?? 'judged'}`) : own,
    by: outsideText(actor),
    detail: Object.fromEntries(
      Object.entries(detail)
        .slice(0, mostDetails)
        .map(([key, value]) => [key.slice(0, 64), typeof value === 'string' ? outsideText(value) : value]),
    ),
    next: next?.replace('NODE', node ?? '') ?? null,
  });
}

/** The id of a message about this entry. */
export function idOf({ seq, hash }: Pick<AuditEntry, 'seq' | 'hash'>): string {
  return `evt_${seq}_${hash.slice(0, 16)}`;
}

/** Whether an entry is delivered: of verdicts, those that change the state, even if the entry is damaged. */
export function isTold({ action, detail: { transition, unreadable } }: AuditEntry): boolean {
  if (action !== 'verdict') return eventOf(action) !== null;
  return transition === true || (typeof unreadable === 'string' && unreadable.includes('"transition":true'));
}

/** The message that a person sends to test the webhook. */
export function trialMessage(id: string, at: number, by: string, cluster: string | null): EncodedMessage {
  return encode({
    id,
    at: new Date(at).toISOString(),
    event: 'webhook.test',
    cluster,
    node: null,
    subject: 'webhook',
    state: null,
    from: null,
    reasons: [],
    moreReasons: 0,
    text: 'a person tries the webhook; nothing happened',
    by: outsideText(by),
    detail: {},
    next: null,
  });
}

function stateIn(
  event: EventName,
  transition: Transition | null,
  { state }: AuditEntry['detail'],
): NodeState | null {
  if (event === 'node.state') return transition?.verdict.state ?? null;
  return event === 'node.flaps' ? (nodeStates.find((each) => each === state) ?? null) : null;
}

function eventOf(action: string): keyof typeof loggedEvents | null {
  return byAction.get(action) ?? null;
}

const byAction = new Map<string, Exclude<EventName, 'webhook.test'>>();
for (const [event, { action }] of entriesOf(loggedEvents)) byAction.set(action, event);

function entriesOf<K extends string, V>(record: Readonly<Record<K, V>>): readonly (readonly [K, V])[] {
  const entries: (readonly [K, V])[] = [];
  for (const key in record) entries.push([key, record[key]]);
  return entries;
}

function codeAlone(code: string | null, text: string): EventMessage['reasons'] {
  if (code === null) return [];
  return [{ code: outsideText(code), class: isReasonCode(code) ? classOf(code) : null, text }];
}

function encode(message: EventMessage): EncodedMessage {
  const { id, event, node, subject } = message;
  const body = JSON.stringify(message);
  if (Buffer.byteLength(body) <= mostMessageBytes) return { id, event, node, subject, body };
  const reasons = message.reasons.slice(0, 1);
  const moreReasons = message.moreReasons + message.reasons.length - reasons.length;
  return {
    ...{ id, event, node, subject },
    body: JSON.stringify({ ...message, reasons, detail: {}, moreReasons }),
  };
}
