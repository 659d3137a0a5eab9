import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import { entityTag, isKnown } from './entity-tag.ts';
import type { ApiPorts } from './ports.ts';
import { checkRole, Denial, HttpProblem, problemBody, problemOf } from './problem.ts';
import type { Caller } from './roles.ts';
import { isTagged, type Route, type RouteAnswer, type StreamAnswer } from './route.ts';
import { routes } from './routes.ts';
import { readHeaders, securityHeaders } from './security-headers.ts';

/** The API's listener, for a TLS server. Whatever a handler throws, the caller sees a problem and nothing of ours. */
export function createApi(ports: ApiPorts): RequestListener {
  return (message, response) => {
    const started = performance.now();
    let label = 'unmatched';
    let isProven = false;
    let hasTag = false;
    const seen = (route: Route) => {
      label = route.path;
      hasTag = isTagged(route);
    };
    const known = () => {
      isProven = true;
      ports.known(message.socket);
    };
    answerTo(ports, message, seen, known)
      .then((answer) => {
        if ('stream' in answer) return answer;
        const { status, body, text = textOf(body) } = answer;
        return { status, text };
      })
      .finally(() => {
        // Strangers have one request in a connection (listen.ts).
        response.shouldKeepAlive &&= isProven;
      })
      .then(
        (answer) => {
          if ('stream' in answer) stream(response, answer, message);
          else send(response, answer, message, { hasTag });
        },
        (error: unknown) => {
          const problem = problemOf(error, ports.faultAdvice);
          if (problem.status >= 500) ports.fault(error, label);
          if (problem instanceof Denial)
            ports.refused(problem.code, `${message.method} ${label}: ${problem.message}`, problem.actor);
          for (const [name, value] of Object.entries(problem.headers)) response.setHeader(name, value);
          const answer = { status: problem.status, text: textOf(problemBody(problem)) };
          send(response, answer, message, { type: 'application/problem+json' });
        },
      )
      .then(() => {
        // A body that nobody read must not keep the connection waiting.
        if (!message.complete) message.resume();
        const seconds = (performance.now() - started) / 1000;
        ports.answered(message.method ?? '', label, response.statusCode, seconds);
      })
      .catch((error: unknown) => {
        ports.fault(error, label);
        response.destroy();
      });
  };
}

async function answerTo(
  ports: ApiPorts,
  message: IncomingMessage,
  seen: (route: Route) => void,
  known: () => void,
): Promise<RouteAnswer> {
  const url = parseUrl(message.url ?? '');
  const method = message.method === 'HEAD' ? 'GET' : message.method;
  const onPath = routes.filter(({ pattern }) => pattern.test({ pathname: url.pathname }));
  if (onPath.length === 0)
    throw new HttpProblem(404, 'there is nothing here; /openapi.json lists what there is', {
      code: 'unknown_path',
    });
  const route = onPath.find((candidate) => candidate.method === method);
  if (route === undefined) {
    const allow = onPath.map((candidate) => candidate.method).join(', ');
    throw new HttpProblem(405, `this takes ${allow} only`, { headers: { allow } });
  }
  seen(route);
  const caller = await authorize(ports, route, message, known);
  const fault = route.needsRoom === true ? ports.storageFault() : null;
  if (fault !== null) throw fault;
  return route.handle(ports, {
    message,
    path: decode(route.pattern.exec({ pathname: url.pathname })?.pathname.groups ?? {}),
    query: queryOf(url.searchParams),
    caller,
  });
}

async function authorize(
  { tokens }: ApiPorts,
  { role }: Route,
  { headers, socket }: IncomingMessage,
  known: () => void,
): Promise<Caller | null> {
  if (role === 'none') return null;
  const caller = await tokens.authenticate(headers.authorization, socket.remoteAddress);
  const refused = {
    code: 'token_rejected',
    actor: `address:${socket.remoteAddress ?? ''}`,
    headers: { 'www-authenticate': 'Bearer realm="assay"' },
  } as const;
  if (caller === null) throw new Denial(401, 'send a valid token as Authorization: Bearer …', refused);
  if ('expiredAt' in caller) {
    const { token, role: its, expiredAt } = caller;
    const next = `Whoever has the role admin makes a new one:\n  assay token create --name ${token} --role ${its}`;
    throw new Denial(401, `the token ${token} expired at ${new Date(expiredAt).toISOString()}`, {
      ...refused,
      next,
    });
  }
  known();
  checkRole(caller, role);
  return caller;
}

function parseUrl(target: string): URL {
  const url = target.startsWith('/') ? URL.parse(`http://api.invalid${target}`) : null;
  if (url === null) throw new HttpProblem(400, 'the request target is not a path');
  return url;
}

function decode(groups: Readonly<Record<string, string | undefined>>): Record<string, string> {
  try {
    return Object.fromEntries(
      Object.entries(groups).map(([name, value]) => [name, decodeURIComponent(value ?? '')]),
    );
  } catch {
    throw new HttpProblem(400, 'the path is not properly percent-encoded');
  }
}

function queryOf(parameters: URLSearchParams): Record<string, string> {
  const query = new Map<string, string>();
  for (const [name, value] of parameters) {
    if (query.has(name))
      throw new HttpProblem(400, 'query: a parameter is given twice', {
        code: 'invalid_field',
        field: 'query',
      });
    query.set(name, value);
  }
  return Object.fromEntries(query);
}

function textOf(body: unknown): string {
  return `${JSON.stringify(body)}\n`;
}

/** Without a length: it ends when the stream does. Nothing between may hold it back until it is whole. */
function stream(
  response: ServerResponse,
  { stream: write }: StreamAnswer,
  { method }: IncomingMessage,
): void {
  response.writeHead(200, {
    ...securityHeaders,
    'content-type': 'text/event-stream',
    'x-accel-buffering': 'no',
  });
  if (method === 'HEAD') response.end();
  else write(response);
}

/** Does not resend what the caller already has: lists are requested every few seconds. */
function send(
  response: ServerResponse,
  { status, text }: { readonly status: number; readonly text: string },
  { method, headers }: IncomingMessage,
  { hasTag = false, type = 'application/json' }: { readonly hasTag?: boolean; readonly type?: string },
): void {
  const tag = hasTag && status === 200 ? entityTag(text) : null;
  const about = { ...securityHeaders, ...(tag !== null && { ...readHeaders, etag: tag }) };
  if (tag !== null && isKnown(tag, headers['if-none-match'])) {
    response.writeHead(304, about).end();
    return;
  }
  response.writeHead(status, {
    ...about,
    'content-type': type,
    'content-length': Buffer.byteLength(text),
  });
  response.end(method === 'HEAD' ? undefined : text);
}
