import { randomBytes } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import type { ClusterEvent, ClusterNode, ClusterWriter } from '../marking/ports.ts';
import { ClusterError } from '../marking/ports.ts';
import { atMost } from '../wire/at-most.ts';
import type { Requests } from './requests.ts';

export interface EventParts {
  readonly requests: Pick<Requests, 'json'>;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

interface PublishedEvent {
  readonly name: string;
  readonly at: number;
  readonly count: number;
}

/** The same of the same Node within this time is counted in the Event that is there already. */
const seriesFor = 600_000;
const remembered = 10_000;
/** Where `kubectl describe node` looks for what has no namespace. */
const events = '/api/v1/namespaces/default/events';
/** Of the API. */
const longestMessage = 1024;

/** Events on Nodes, in core/v1, as `kubectl describe` shows them. */
export function createEvents({ requests, now }: EventParts): ClusterWriter['event'] {
  const told = new LRUCache<string, PublishedEvent>(atMost(remembered));
  return async (node, event) => {
    const key = `${node.uid} ${event.reason} ${event.message}`;
    const before = told.get(key);
    const at = now();
    if (before !== undefined && at - before.at < seriesFor && (await again(before, at))) {
      told.set(key, { ...before, at, count: before.count + 1 });
      return;
    }
    const name = `${node.name.slice(0, 230)}.${randomBytes(8).toString('hex')}`;
    await requests.json({
      verb: 'create',
      resource: 'events',
      name,
      path: events,
      body: eventOf(name, node, event, at),
      lane: 'events',
    });
    told.set(key, { name, at, count: 1 });
  };

  /** False if it no longer exists: the API forgets Events after an hour. */
  async function again({ name, count }: PublishedEvent, at: number): Promise<boolean> {
    const path = `${events}/${encodeURIComponent(name)}`;
    const body = [
      { op: 'add', path: '/count', value: count + 1 },
      { op: 'add', path: '/lastTimestamp', value: timestamp(at) },
    ];
    try {
      await requests.json({ verb: 'patch', resource: 'events', name, path, body, lane: 'events' });
      return true;
    } catch (error) {
      if (error instanceof ClusterError && error.reason === 'not_found') return false;
      throw error;
    }
  }
}

function eventOf(name: string, node: ClusterNode, { type, reason, message }: ClusterEvent, at: number) {
  return {
    apiVersion: 'v1',
    kind: 'Event',
    metadata: { name, namespace: 'default' },
    involvedObject: { apiVersion: 'v1', kind: 'Node', name: node.name, uid: node.uid },
    type,
    reason,
    message: message.length > longestMessage ? `${message.slice(0, longestMessage - 1)}…` : message,
    source: { component: 'assay-server' },
    firstTimestamp: timestamp(at),
    lastTimestamp: timestamp(at),
    count: 1,
  };
}

/** As the API writes times: whole seconds. */
function timestamp(at: number): string {
  return new Date(at).toISOString().replace(/\.\d+Z$/, 'Z');
}
