import type { RequestListener } from 'node:http';
import { z } from 'zod';
import type { NextBoot } from '../references/next-boots.ts';
import { listNodes } from './node-list.ts';
import type { NodeStanding } from './node-view.ts';
import type { ApiPorts, Readiness } from './ports.ts';
import type { JsonAnswer } from './route.ts';
import { securityHeaders } from './security-headers.ts';

export const live = z.object({ ok: z.literal(true) });
/** `reason` is one sentence where not ok. */
export const readinessView = z.object({ ok: z.boolean(), reason: z.string().nullable() });

export function liveness(): JsonAnswer {
  return { status: 200, body: { ok: true } };
}

/** Reply of the first room that is not ready; otherwise of the first that still gives a reason. */
export function isReady(rooms: readonly (() => Readiness)[]): Readiness {
  const said = rooms.map((ready) => ready());
  return (
    said.find(({ ok }) => !ok) ?? said.find(({ reason }) => reason !== null) ?? { ok: true, reason: null }
  );
}

export function readiness({ ok, reason }: Readiness): JsonAnswer {
  return { status: ok ? 200 : 503, body: { ok, reason } };
}

export interface ProbePorts
  extends Pick<ApiPorts, 'presence' | 'ready' | 'now' | 'fault' | 'connected' | 'ended' | 'kubeletReady'> {
  readonly enrolment: Pick<ApiPorts['enrolment'], 'unsupported' | 'claims'>;
  readonly store: Pick<ApiPorts['store'], 'nodes' | 'statuses' | 'serverFault'>;
  /** Milliseconds for which the text of one scrape is that of all: whoever asks more often costs nothing. */
  readonly scrapeKeptFor: number;
  readonly references: Pick<ApiPorts['references'], 'nextBoots'>;
  readonly metrics: {
    nextBoots(all: Iterable<NextBoot>): void;
    nodeStates(nodes: readonly NodeStanding[]): void;
    ready(isReady: boolean): void;
    /** The Prometheus text format and its content type. */
    text(): Promise<string>;
    readonly contentType: string;
  };
}

/** The listener of the metrics port: `/metrics`, `/livez`, `/readyz`, without credentials, for loopback or a scraper. */
export function createProbes(ports: ProbePorts): RequestListener {
  const metricsText = sharedScrapes(ports);
  return (request, response) => {
    const path = request.url?.split('?', 1)[0] ?? '';
    // Nobody proves himself here, and strangers have one request in a connection (listen.ts).
    response.shouldKeepAlive = false;
    const send = (status: number, type: string, body: string | Buffer) => {
      response.writeHead(status, { ...securityHeaders, 'content-type': type });
      response.end(request.method === 'HEAD' ? undefined : body);
    };
    const json = ({ status, body }: JsonAnswer) =>
      send(status, 'application/json', `${JSON.stringify(body)}\n`);
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      response.setHeader('allow', 'GET, HEAD');
      send(405, 'text/plain; charset=utf-8', 'GET or HEAD only\n');
    } else if (path === '/livez') json(liveness());
    else if (path === '/readyz') json(readiness(ports.ready()));
    else if (path === '/metrics')
      metricsText().then(
        (text) => send(200, ports.metrics.contentType, text),
        (error: unknown) => {
          ports.fault(error, '/metrics');
          send(500, 'text/plain; charset=utf-8', 'the metrics could not be gathered\n');
        },
      );
    else send(404, 'text/plain; charset=utf-8', 'here are /metrics, /livez and /readyz\n');
  };
}

/** States are computed for each scrape, so that a node whose evidence ran out is not counted as trusted. */
async function scrape(ports: ProbePorts): Promise<Buffer> {
  ports.metrics.nodeStates((await listNodes(ports)).map(({ standing }) => standing()));
  ports.metrics.nextBoots((await ports.references.nextBoots()).values());
  ports.metrics.ready(ports.ready().ok);
  // As bytes: a text of megabytes would be made into them for each who asks.
  return Buffer.from(await ports.metrics.text());
}

/** Those that come while one is made, or shortly after, share its text. Attack: all nodes looked at for each request. */
function sharedScrapes(ports: ProbePorts): () => Promise<Buffer> {
  let latest: Promise<Buffer> | null = null;
  let until = Number.NEGATIVE_INFINITY;
  return () => {
    if (latest !== null && performance.now() < until) return latest;
    until = Number.POSITIVE_INFINITY;
    const made = scrape(ports);
    latest = made;
    made.then(
      () => {
        until = performance.now() + ports.scrapeKeptFor;
      },
      () => {
        latest = null;
      },
    );
    return made;
  };
}
