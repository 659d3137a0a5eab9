import type { Reporting } from '../telemetry/reporting.ts';
import type { ApiPorts } from './ports.ts';

/** Requests to the API: how long each took, and those that their caller may not make. */
export function httpReport({ figures, refusedTo }: Reporting): Pick<ApiPorts, 'answered' | 'refused'> {
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
    refused: (code, text, actor) => refusedTo(actor, { code, text, node: null, isEnrolled: false }),
  };
}

const methods: readonly string[] = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'];
