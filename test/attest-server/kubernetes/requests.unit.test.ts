import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { RequestListener } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { after, before, describe, it } from 'mocha';
import type { Access } from '../../../attest-server/kubernetes/access.ts';
import { Requests } from '../../../attest-server/kubernetes/requests.ts';
import { ClusterError } from '../../../attest-server/marking/ports.ts';
import { type MadeAuthority, makeAuthority } from '../../agent/made-authority.ts';

const get = { verb: 'get', resource: 'nodes', name: 'n1', path: '/api/v1/nodes/n1', lane: 'reads' } as const;

describe('a request to the API of a cluster', () => {
  let authority: MadeAuthority;
  let server: Server;
  let answer: RequestListener;
  let access: Access;
  before(async () => {
    authority = await makeAuthority();
    server = createServer(await authority.issue(), (message, response) => answer(message, response));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    access = {
      url: new URL(`https://127.0.0.1:${port}/cluster/`),
      namespace: null,
      credentials: async () => ({
        headers: { authorization: 'Bearer secret' },
        tls: { ca: authority.ca },
        agent: null,
      }),
    };
  });
  after(async () => {
    server?.closeAllConnections();
    server?.close();
    await authority?.[Symbol.asyncDispose]();
  });
  const open = (within = 500) => {
    const codes: (number | null)[] = [];
    const on = { asked: (_request: unknown, code: number | null) => void codes.push(code) };
    return { codes, requests: new Requests({ access, on, monotonic: () => performance.now(), within }) };
  };
  const fault = async (work: Promise<unknown>): Promise<ClusterError> => {
    const error = await work.then(
      () => null,
      (reason: unknown) => reason,
    );
    assert.ok(error instanceof ClusterError, String(error));
    assert.equal(error.message.includes('secret'), false);
    return error;
  };

  it('goes below the path of the server, with credentials, and once more over a connection that ended unused', async () => {
    const seen: string[] = [];
    answer = ({ url, headers, socket }, response) => {
      seen.push(`${url} ${headers.authorization}`);
      // As an API that ends an idle connection just when the next request is on its way.
      if (seen.length === 2) socket.destroy();
      else response.end('{"a":1}');
    };
    const { requests, codes } = open();
    using _requests = requests;
    assert.deepEqual(await requests.json(get), { a: 1 });
    assert.deepEqual(await requests.json(get), { a: 1 });
    assert.deepEqual(
      seen,
      Array.from({ length: 3 }, () => '/cluster/api/v1/nodes/n1 Bearer secret'),
    );
    assert.deepEqual(codes, [200, 200]);
    answer = ({ socket }) => void socket.destroy();
    assert.equal((await fault(requests.json(get))).reason, 'unreachable');
  });

  it('takes no answer that is no JSON, has no end, or follows another way', async () => {
    const { requests } = open();
    using _requests = requests;
    answer = (_message, response) => response.end('<html>');
    assert.equal((await fault(requests.json(get))).reason, 'failed');
    answer = (_message, response) => {
      response.writeHead(302, { location: 'https://elsewhere.example/' }).end();
    };
    assert.equal((await fault(requests.json(get))).reason, 'failed');
    answer = (_message, response) => {
      response.write('{"a":');
      // Drips for as long as somebody listens.
      const timer = setInterval(() => response.write(' '), 20);
      response.once('close', () => clearInterval(timer));
    };
    const started = performance.now();
    assert.equal((await fault(requests.json(get))).reason, 'unreachable');
    assert.ok(performance.now() - started < 3_000);
  });

  it('repeats nothing that it sent where that is secret, though the API says it back, nor bytes that are none of a text', async () => {
    const { requests } = open();
    using _requests = requests;
    const body = { spec: { token: 'head.secret.tail' } };
    const asked = { ...get, verb: 'create', body, isSecret: true, longest: 1_000 } as const;
    const message = 'spec.token: Invalid value: head.secret.tail';
    for (const [code, text] of [
      [400, JSON.stringify({ message })],
      [200, 'head.secret.tail'],
      [200, '{"head.secret.tail\u001b'],
      [200, JSON.stringify({ message: 'x'.repeat(1_000) })],
    ] as const) {
      answer = (_message, response) => {
        response.statusCode = code;
        response.end(text);
      };
      const error = await fault(requests.json(asked));
      assert.match(error.message, /^[\x20-\x7e]*$/);
      assert.equal(String(error.cause ?? '').includes('secret'), false);
    }
    answer = (_message, response) => {
      response.statusCode = 400;
      response.end(JSON.stringify({ message: 'what is wrong' }));
    };
    assert.match((await fault(requests.json(get))).message, /what is wrong/);
  });

  it('waits for its turn within its bound, and is refused where too many wait', async () => {
    answer = () => {};
    const { requests } = open(150);
    using _requests = requests;
    const asked = Array.from({ length: 80 }, () => fault(requests.json(get)));
    const reasons = (await Promise.all(asked)).map(({ reason }) => reason);
    // Four are asked at once and 64 wait; the others are told so at once.
    assert.equal(reasons.filter((reason) => reason === 'too_many').length, 12);
    assert.equal(reasons.filter((reason) => reason === 'unreachable').length, 68);
  });
});
