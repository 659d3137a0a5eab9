import { Agent, request as ask } from 'node:https';
import { gunzipSync, gzipSync } from 'node:zlib';
import { type ApiServer, openApiServer } from '../../../../swtpm-fixtures/api-server/api-server.ts';
import { at, type Json } from '../../../../swtpm-fixtures/api-server/json.ts';
import { administrator } from '../../../../swtpm-fixtures/api-server/users.ts';
import type { Answer } from './answer.ts';
import type { RecordedRequest } from './recording.ts';

export interface Replayed {
  readonly request: RecordedRequest;
  readonly real: Answer;
  readonly ours: Answer;
}

/** Sends requests of the recording in their order to an API server of the tests. */
export async function replay(requests: readonly RecordedRequest[]): Promise<readonly Replayed[]> {
  await using api = await openApiServer();
  const agent = new Agent({ keepAlive: true, ca: api.authority });
  using _ = { [Symbol.dispose]: () => agent.destroy() };
  const captured = new Map<string, string>();
  const answers: Promise<Replayed>[] = [];
  let background = new AbortController();
  let skew = 0;
  for (const [index, request] of requests.entries()) {
    // Nothing of the server waits but its clock: what was waited for at the real one is a step of that.
    skew += request.waitBefore ?? 0;
    api.setClockSkew(skew);
    if (request.case === compacted.case && request.step === compacted.beforeStep) api.compact();
    if (request.case === slowStorage) api.setStorageStart(1_000);
    const sent = send(api, agent, request, captured, background.signal).then((ours) => {
      for (const [name, path] of Object.entries(request.capture ?? {})) {
        captured.set(name, String(at(ours.body, ...path.split('.')) ?? ''));
      }
      const { status, responseHeaders: headers = {}, response: body = null } = request;
      return { request, ours, real: { status, headers, body } };
    });
    answers.push(sent);
    if (request.background !== true) await sent;
    if (requests[index + 1]?.case === request.case) continue;
    background.abort();
    background = new AbortController();
  }
  return Promise.all(answers);
}

/** Only here did the storage of a new definition take its time. */
const slowStorage = 'watch: a definition that is changed and deleted meanwhile';
const compacted = { case: 'list: a continue after a compaction of etcd', beforeStep: 5 };

async function send(
  api: ApiServer,
  agent: Agent,
  request: RecordedRequest,
  captured: ReadonlyMap<string, string>,
  ended: AbortSignal,
): Promise<Answer> {
  const { method, path, contentType, accept, template = {}, impersonate } = request;
  const query = filled(template.query ?? request.query ?? '', captured);
  const target = `${path}${request.background ? query : query.replace(/timeoutSeconds=\d+/, 'timeoutSeconds=1')}`;
  const content = template.body ?? request.body;
  const written = typeof content === 'string' ? content : JSON.stringify(content);
  const text = written === undefined ? undefined : filled(written, captured);
  const token = filled(template.token ?? tokenOf(api, request.as), captured);
  const headers = {
    ...request.headers,
    Accept: accept,
    ...(contentType !== undefined && { 'Content-Type': contentType }),
    ...(token !== '' && { Authorization: `Bearer ${token}` }),
    ...(impersonate !== undefined && { 'Impersonate-User': impersonate.user }),
    ...(impersonate?.groups.length && { 'Impersonate-Group': impersonate.groups }),
  };
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  // By itself: a parser of URLs would take dots as steps to another path.
  const { hostname, port } = new URL(api.url);
  const sent = ask({ hostname, port, path: target, method, headers, agent }, (response) => {
    // One that the real server refused and ours opens would never end.
    const left = AbortSignal.any([ended, AbortSignal.timeout(request.background ? 60_000 : 5_000)]);
    left.addEventListener('abort', () => response.destroy(), { once: true });
    const chunks: Buffer[] = [];
    response.on('data', (chunk: Buffer) => chunks.push(chunk));
    // A watch that is left breaks here, with all that it sent.
    response.on('error', () => undefined);
    response.once('close', () => {
      const { statusCode: status = 0, headers: its } = response;
      const bytes = Buffer.concat(chunks);
      const whole = (its['content-encoding'] === 'gzip' ? gunzipSync(bytes) : bytes).toString('utf8');
      const isStream = status === 200 && /[?&]watch=|\/watch\//.test(target);
      resolve({
        status,
        headers: {
          ...(its['retry-after'] !== undefined && { 'retry-after': its['retry-after'] }),
          ...(its.warning !== undefined && { warning: String(its.warning) }),
        },
        body: isStream ? whole.split('\n').filter(Boolean).map(parsed) : parsed(whole),
      });
    });
  });
  sent.once('error', reject);
  const bytes = request.gzipBody && text !== undefined ? gzipSync(text) : Buffer.from(text ?? '');
  // Node says no length of its own with a method that has a body only sometimes.
  if (text !== undefined) sent.setHeader('Content-Length', bytes.length);
  sent.end(bytes);
  return promise;
}

/** Empty: no credential. */
function tokenOf(api: ApiServer, as: string | undefined): string {
  if (as === undefined) return api.tokenOf(administrator);
  return as === 'nobody' ? '' : 'of-nobody';
}

function filled(text: string, captured: ReadonlyMap<string, string>): string {
  return text.replace(/\$\{(\w+)(?:\*(\d+))?\}/g, (whole, name: string, times: string | undefined) =>
    times === undefined ? (captured.get(name) ?? whole) : name.repeat(Number(times)),
  );
}

function parsed(text: string): Json {
  try {
    return JSON.parse(text);
  } catch {
    // Some answers are texts.
    return text;
  }
}
