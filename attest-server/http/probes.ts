import type { RequestListener } from 'node:http';
import { z } from 'zod';
import type { NodeView } from '../protocol/api.ts';
import { listNodes } from './node-list.ts';
import type { ApiPorts, Readiness } from './ports.ts';
import type { Answer } from './route.ts';
import { securityHeaders } from './security-headers.ts';

export const live = z.object({ ok: z.literal(true) });
/** `reason` is one sentence where not ok. */
export const readinessView = z.object({ ok: z.boolean(), reason: z.string().nullable() });

export function liveness(): Answer {
  return { status: 200, body: { ok: true } };
}

export function readiness({ ok, reason }: Readiness): Answer {
  return { status: ok ? 200 : 503, body: { ok, reason } };
}

export interface ProbePorts extends Pick<ApiPorts, 'unsupported' | 'ready' | 'now' | 'fault'> {
  readonly store: Pick<ApiPorts['store'], 'nodes' | 'statuses'>;
  readonly metrics: {
    nodeStates(nodes: readonly NodeView[]): void;
    /** The Prometheus text format and its content type. */
    text(): Promise<string>;
    readonly contentType: string;
  };
}

/** The listener of the metrics port: `/metrics`, `/livez`, `/readyz`, without credentials, for loopback or a scraper. */
export function createProbes(ports: ProbePorts): RequestListener {
  return (request, response) => {
    const path = request.url?.split('?', 1)[0] ?? '';
    // Nobody proves himself here, and strangers have one request in a connection (listen.ts).
    response.shouldKeepAlive = false;
    const send = (status: number, type: string, body: string) => {
      response.writeHead(status, { ...securityHeaders, 'content-type': type });
      response.end(request.method === 'HEAD' ? undefined : body);
    };
    const json = ({ status, body }: Answer) => send(status, 'application/json', `${JSON.stringify(body)}\n`);
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      response.setHeader('allow', 'GET, HEAD');
      send(405, 'text/plain; charset=utf-8', 'GET or HEAD only\n');
    } else if (path === '/livez') json(liveness());
    else if (path === '/readyz') json(readiness(ports.ready()));
    else if (path === '/metrics')
      metricsText(ports).then(
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
async function metricsText(ports: ProbePorts): Promise<string> {
  ports.metrics.nodeStates((await listNodes(ports)).map(({ view }) => view()));
  return ports.metrics.text();
}
