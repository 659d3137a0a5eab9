import assert from 'node:assert/strict';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:https';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { type MadeAuthority, makeAuthority } from '../agent/made-authority.ts';
import { runAssay } from '../attest-server/cli/cli-fixture.ts';
import { type KeptState, readKeptStates } from './recording.ts';

/** What reads; each with what it must show of the recorded story, by the exit code of the state. */
const commands: readonly (readonly [words: string, code: number, shows: RegExp])[] = [
  ['get nodes', 0, /^node-2 +untrusted +kernel_unknown/m],
  ['get nodes -o wide', 0, /^node-1 +trusted /m],
  ['get nodes -o json', 0, /"name": "node-8"/],
  ['describe node-1', 0, /^State: +trusted/m],
  ['why node-2', 10, /^node-2 is untrusted/m],
  ['history node-1', 0, /trusted/],
  ['reference list', 0, /^node-8 +boot .* active/m],
  ['token list', 0, /^alice +operator/m],
  ['enrol list', 0, /^NODE +EK/m],
  ['authority status', 0, /in force/],
];

for (const kept of readKeptStates().filter(({ passed }) => passed === null))
  describe(`assay, asking a server of ${kept.version}`, () => {
    let authority: MadeAuthority;
    let server: Server;
    let env: Readonly<Record<string, string>> = {};
    before(async () => {
      authority = await makeAuthority();
      server = await serve(kept, authority);
      const address = server.address();
      assert(address !== null && typeof address === 'object');
      const file = (name: string, text: string) => {
        writeFileSync(join(authority.dir, name), text, { mode: 0o600 });
        return join(authority.dir, name);
      };
      env = {
        ASSAY_SERVER: `https://127.0.0.1:${address.port}`,
        ASSAY_TOKEN_FILE: file('token', 'a-token'),
        ASSAY_CA_FILE: file('ca', authority.ca),
      };
    });
    after(async () => {
      server.closeAllConnections();
      server.close();
      await authority[Symbol.asyncDispose]();
    });

    for (const [words, code, shows] of commands)
      it(`reads what it answers: ${words}`, async () => {
        const ran = await runAssay(words.split(' '), { env, now: () => Date.parse(kept.at) });
        assert.equal(ran.code, code, ran.err);
        assert.match(ran.out, shows);
      });
  });

/** A server that says what was recorded, whatever the query. */
async function serve({ answers }: KeptState, authority: MadeAuthority): Promise<Server> {
  const server = createServer(await authority.issue(), (request, response) => {
    const { pathname } = new URL(request.url ?? '', 'https://localhost');
    const { status, body } = answers[pathname] ?? { status: 404, body: notFound };
    const type = status < 400 ? 'application/json' : 'application/problem+json';
    response.writeHead(status, { 'content-type': type }).end(JSON.stringify(body));
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  return server;
}

const notFound = {
  type: 'about:blank',
  title: 'Not Found',
  status: 404,
  detail: 'there is nothing here; /openapi.json lists what there is',
};
