import { once } from 'node:events';
import { createServer, type IncomingMessage } from 'node:http';
import { request } from 'node:https';
import { buffer } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import type { ApiServer } from '../../swtpm-fixtures/api-server/api-server.ts';
import { isObject, type Json, type JsonObject } from '../../swtpm-fixtures/api-server/json.ts';
import { administrator } from '../../swtpm-fixtures/api-server/users.ts';

/**
 * A door to an API server of the tests for Helm, which writes its releases as protobuf, and all else as JSON.
 * @returns the address, without TLS, for `--kube-apiserver`; whoever comes by it is the administrator
 */
export async function openHelmDoor(api: ApiServer): Promise<AsyncDisposable & { readonly url: string }> {
  const token = api.tokenOf(administrator);
  const client = api.as(administrator);
  const door = createServer((asked, answer) => {
    const forward = async () => {
      const body = await buffer(asked);
      const isProtobuf = asked.headers['content-type'] === 'application/vnd.kubernetes.protobuf';
      const sent = isProtobuf && body.length > 0 ? Buffer.from(JSON.stringify(objectIn(body))) : body;
      const target = asked.url ?? '/';
      const plain = isOfOneObject(asked) ? plainObject(sent) : null;
      if (plain !== null) {
        const { method = 'GET', headers } = asked;
        const type = isProtobuf ? undefined : headers['content-type'];
        const { code, text } = await client.request(method, target, plain.object, type);
        answer.writeHead(code, { 'content-type': 'application/json' }).end(text);
        return;
      }
      const { 'content-length': _, 'transfer-encoding': __, host, ...headers } = asked.headers;
      const inner = request(new URL(target, api.url), {
        method: asked.method ?? 'GET',
        ca: api.authority,
        headers: {
          ...headers,
          authorization: `Bearer ${token}`,
          ...(sent.length > 0 && { 'content-length': sent.length }),
          ...(isProtobuf && { 'content-type': 'application/json' }),
        },
      });
      answer.once('close', () => inner.destroy());
      inner.end(sent);
      const [reply] = await once(inner, 'response');
      answer.writeHead(reply.statusCode, reply.headers);
      // A watch begins with its first event, and its client waits for the head.
      answer.flushHeaders();
      await pipeline(reply, answer);
    };
    forward().catch(() => answer.destroy());
  });
  door.listen(0, '127.0.0.1');
  await once(door, 'listening');
  const address = door.address();
  if (address === null || typeof address === 'string') throw new Error('the door is at no port');
  return {
    url: `http://127.0.0.1:${address.port}`,
    async [Symbol.asyncDispose]() {
      const closed = once(door, 'close');
      door.close();
      door.closeAllConnections();
      await closed;
    },
  };
}

/** What is answered at once, in the usual form: it needs no second connection. */
function isOfOneObject({ url = '', headers }: IncomingMessage): boolean {
  return (
    /^\/(api\/v1|apis\/[^/]+\/[^/]+)\/[^?]+/.test(url) &&
    !/[?&]watch=/.test(url) &&
    !headers.accept?.includes('as=')
  );
}

/** Null: it is another form than JSON. */
function plainObject(body: Buffer): { readonly object: JsonObject | undefined } | null {
  if (body.length === 0) return { object: undefined };
  try {
    const object: unknown = JSON.parse(body.toString('utf8'));
    return isObject(object) ? { object } : null;
  } catch {
    return null;
  }
}

/** A ConfigMap, or the options of a deletion, of which none is kept. Kubernetes' envelope (runtime.Unknown): magic, type, object. */
function objectIn(body: Buffer): Json {
  if (body.subarray(0, 4).toString('latin1') !== 'k8s\0') throw new Error('it is no object of Kubernetes');
  const unknown = fieldsOf(body.subarray(4));
  const [type = Buffer.alloc(0)] = unknown.get(1) ?? [];
  const [apiVersion = '', kind = ''] = [textIn(type, 1), textIn(type, 2)];
  if (kind === 'DeleteOptions') return { apiVersion: 'v1', kind };
  if (kind !== 'ConfigMap') throw new Error(`a kind that is not known here: ${kind}`);
  const raw = fieldsOf(unknown.get(2)?.[0] ?? Buffer.alloc(0));
  const metadata = raw.get(1)?.[0] ?? Buffer.alloc(0);
  const named = (
    [
      ['name', 1],
      ['namespace', 3],
      ['uid', 5],
      ['resourceVersion', 6],
    ] as const
  ).flatMap(([name, field]) => {
    const text = textIn(metadata, field);
    return text === undefined || text === '' ? [] : [[name, text] as const];
  });
  const labels = mapIn(fieldsOf(metadata).get(11) ?? []);
  return {
    ...{ apiVersion, kind },
    metadata: { ...Object.fromEntries(named), labels },
    data: mapIn(raw.get(2) ?? []),
  };
}

function mapIn(entries: readonly Buffer[]): JsonObject {
  return Object.fromEntries(entries.map((entry) => [textIn(entry, 1) ?? '', textIn(entry, 2) ?? '']));
}

function textIn(message: Buffer, field: number): string | undefined {
  return fieldsOf(message).get(field)?.[0]?.toString('utf8');
}

/** Fields with a length by their numbers; numbers are passed over. */
function fieldsOf(message: Buffer): ReadonlyMap<number, readonly Buffer[]> {
  const found = new Map<number, Buffer[]>();
  let at = 0;
  const varint = () => {
    let value = 0;
    for (let shift = 1; ; shift *= 128) {
      const byte = message.readUInt8(at);
      at += 1;
      value += (byte % 128) * shift;
      if (byte < 128) return value;
    }
  };
  while (at < message.length) {
    const tag = varint();
    const [field, wire] = [Math.floor(tag / 8), tag % 8];
    if (wire === 0) {
      varint();
      continue;
    }
    if (wire !== 2) throw new Error(`a wire type that is not known here: ${wire}`);
    const length = varint();
    found.set(field, [...(found.get(field) ?? []), message.subarray(at, at + length)]);
    at += length;
  }
  return found;
}
