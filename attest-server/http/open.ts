/**
 * One table of routes (`routes`) for API, `probes` and metrics, from which /openapi.json is made (`openapi`);
 * `roles` and `tokens`; and what is shown of a node (`node-view`, `known-node` for what is known
 * besides, and `silence` for how a silent one came to be so).
 */

import type { Admissions } from '../door/open.ts';
import type { EnrolmentStore } from '../enrolment/ports.ts';
import type { EventFeed } from '../events/feed.ts';
import type { Bundle } from '../formats/bundle.ts';
import type { ReferenceStore } from '../references/ports.ts';
import { type AdviceParts, createAdvise } from './advise.ts';
import { createApi } from './api.ts';
import { createClusterTokens } from './cluster-tokens.ts';
import { EventStreams, type StreamEnd, type StreamTimings } from './event-streams.ts';
import { listenPlainly, listenSecurely } from './listen.ts';
import { createNamedTokens } from './named-tokens.ts';
import type { ApiPorts, ClusterUsers, Readiness, TokenStore } from './ports.ts';
import { createProbes, isReady, type ProbePorts } from './probes.ts';
import { latestOr, type Statuses, shownStore } from './shown-store.ts';
import { readTokens } from './tokens.ts';

export interface HttpConfig {
  readonly stateDir: string;
  readonly host: string;
  /** 0 takes a free one. */
  readonly apiPort: number;
  readonly metricsPort: number;
  /** Milliseconds for which the text of one scrape is that of all. */
  readonly scrapeKeptFor: number;
  readonly streamTimings: StreamTimings;
}

/** PEM: the certificate, then its authority. */
export interface ShownCertificate {
  readonly chain: string;
  readonly key: string;
}

type MadeHere = 'store' | 'tokens' | 'namedTokens' | 'bundle' | 'known' | 'advise' | 'ready' | 'listen';

export interface HttpParts extends Omit<ApiPorts, MadeHere> {
  readonly store: {
    readonly enrolment: Pick<EnrolmentStore, 'node' | 'nodes'>;
    readonly verdicts: Parameters<typeof shownStore>[0]['verdicts'];
    readonly references: Pick<ReferenceStore, 'list'>;
    readonly tokens: TokenStore;
  };
  readonly statuses: Statuses;
  readonly feed: EventFeed;
  readonly streamEnded: (why: StreamEnd) => void;
  /** Null: the server is in no cluster. */
  readonly clusterUsers: ClusterUsers | null;
  /** The evidence behind a verdict of this node, by its digest; null if none is kept. */
  readonly bundle: (node: string, digest: string) => Promise<Bundle | null>;
  /** Digests of evidence of this node that begin with these hex digits. */
  readonly evidenceNamed: (node: string, digits: string) => Promise<readonly string[]>;
  readonly advice: Omit<AdviceParts, 'faultAdvice'>;
  /** Of each room that may not be ready: what the first of them says that is not, is said. */
  readonly readiness: readonly (() => Readiness)[];
  readonly metrics: ProbePorts['metrics'];
}

/** The API, and the port of metrics and probes. */
export interface Http extends AsyncDisposable {
  readonly apiPort: number;
  readonly metricsPort: number;
  /** Listeners to events at present. */
  listeners(): number;
  /** Shows another certificate to whoever connects from now on. @throws Error if the key is not its own */
  renew(certificate: ShownCertificate): void;
  /** Reads the token files again; what is faulty leaves the old tokens in force. @throws Error */
  readTokens(): void;
}

/** @throws Error with code `EADDRINUSE`, `EACCES`, …; Error for a token file that others can read */
export async function openHttp(
  { stateDir, host, apiPort, metricsPort, scrapeKeptFor, streamTimings }: HttpConfig,
  { chain, key }: ShownCertificate,
  admissions: Pick<Admissions, 'api' | 'metrics'>,
  parts: HttpParts,
): Promise<Http> {
  const {
    statuses,
    metrics,
    bundle,
    evidenceNamed,
    clusterUsers,
    advice,
    readiness,
    feed,
    streamEnded,
    ...rest
  } = parts;
  const { faultAdvice } = rest;
  const ports = {
    ...rest,
    advise: createAdvise({ ...advice, faultAdvice }),
    ready: () => isReady(readiness),
  };
  let tokens = readTokens(stateDir);
  const namedTokens = createNamedTokens(parts.store.tokens, parts.now);
  const clusterTokens = createClusterTokens(clusterUsers);
  const store = shownStore(parts.store, statuses);
  const authenticators = {
    authenticate: async (header: string | undefined, address: string | undefined) =>
      tokens.authenticate(header) ??
      (await namedTokens.authenticate(header)) ??
      clusterTokens.authenticate(header, address),
  };
  await using opened = new AsyncDisposableStack();
  const streams = new EventStreams(
    { ...rest, feed, tokens: authenticators, ended: streamEnded },
    streamTimings,
  );
  const api = opened.use(
    await listenSecurely(
      createApi({
        ...ports,
        store,
        bundle: latestOr(bundle, evidenceNamed, statuses),
        namedTokens,
        known: (socket) => admissions.api.visitor(socket)?.prove(),
        tokens: authenticators,
        listen: (request) => streams.open(request),
      }),
      { key, cert: chain },
      { host, port: apiPort },
      admissions.api,
    ),
  );
  opened.use(streams);
  const probes = opened.use(
    await listenPlainly(
      createProbes({ ...ports, store, metrics, scrapeKeptFor }),
      { host, port: metricsPort },
      admissions.metrics,
    ),
  );
  const open = opened.move();
  return {
    apiPort: api.port,
    metricsPort: probes.port,
    listeners: () => streams.size,
    renew: (next) => api.renew({ key: next.key, cert: next.chain }),
    readTokens() {
      tokens = readTokens(stateDir);
    },
    [Symbol.asyncDispose]: () => open.disposeAsync(),
  };
}
