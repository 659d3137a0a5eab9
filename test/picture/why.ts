import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { nodeView } from '../../attest-server/api/node-api.ts';
import type { Client } from '../../attest-server/cli/client.ts';
import { explainNodes } from '../../attest-server/cli/commands/why.ts';
import { terminalSvg } from './terminal.ts';

/** The answer of the server about node-2 of `npm start`, after it had booted with another kernel. */
export const tamperedNode = nodeView.parse(
  JSON.parse(readFileSync(join(import.meta.dirname, 'node-2.json'), 'utf8')),
);

/** docs/why.svg: what `assay why node-2` prints of that answer two minutes later. */
export async function whyPicture(): Promise<string> {
  const shown = await whyText();
  const [reason] = tamperedNode.reasons;
  return terminalSvg({
    title: 'What assay why node-2 prints about a machine that booted another kernel',
    description: `node-2 is ${tamperedNode.state}. ${reason?.text} ${reason?.next?.replace(/\s+/g, ' ')}`,
    lines: [`$ assay why ${tamperedNode.name}`, ...shown.trimEnd().split('\n')],
  });
}

async function whyText(): Promise<string> {
  let shown = '';
  const server: Client = {
    server: new URL('https://localhost:8444'),
    get: async (_path, schema) => schema.parse(tamperedNode),
    post: unasked,
    delete: unasked,
    text: unasked,
    lines: async function* () {},
    answeredAt: () => null,
    close: () => {},
  };
  const io = {
    out: (text: string) => {
      shown += text;
    },
    err: () => {},
    env: {},
    cwd: '/',
    colour: false,
    columns: null,
    now: () => Date.parse(tamperedNode.since ?? '') + 120_000,
    ask: null,
    stdin: Readable.from([]),
    interrupted: () => new AbortController().signal,
  };
  await explainNodes(
    { version: '', io, server: async () => server, exitWith: () => {} },
    [tamperedNode.name],
    { output: 'table' },
  );
  return shown;
}

async function unasked(): Promise<never> {
  throw new Error('why only reads nodes');
}
