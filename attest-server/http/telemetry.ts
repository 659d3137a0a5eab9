import type { Figures } from '../telemetry/figures.ts';
import type { Reporting } from '../telemetry/reporting.ts';
import { type StreamEnd, streamEnds } from './event-streams.ts';
import type { Http } from './open.ts';
import type { ApiPorts } from './ports.ts';

/** Requests to the API: how long each took, and those that their caller may not make. */
export function httpReport({
  figures,
  refusedTo,
}: Reporting): Pick<ApiPorts, 'answered' | 'refused'> & { streamEnded(why: StreamEnd): void } {
  const ended = figures.counter(
    'event_streams_ended_total',
    'Streams of events that ended',
    ['reason'],
    streamEnds.map((reason) => ({ reason })),
  );
  const durations = figures.histogram(
    'http_request_duration_seconds',
    'Time to answer a request',
    ['method', 'route', 'code'],
    // Few bounds: each route that is asked has all of them.
    [0.005, 0.025, 0.1, 0.5, 2.5],
  );
  return {
    answered(method, route, status, seconds) {
      const known = methods.includes(method) ? method : 'other';
      durations.observe({ method: known, route, code: String(status) }, seconds);
    },
    streamEnded: (reason) => ended.inc({ reason }),
    refused: (code, text, actor) => refusedTo(actor, { code, text, node: null, isEnrolled: false }),
  };
}

export function httpFigures(figures: Figures, http: Pick<Http, 'listeners'>): void {
  figures.sampled('event_streams', 'Listeners to events at present', http.listeners);
}

const methods: readonly string[] = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'];
