import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import type { CliIo } from '../../../attest-server/cli/io.ts';
import { runCli } from '../../../attest-server/cli/program.ts';
import { type ApiServer, now } from '../http/api-fixture.ts';

export interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Surroundings without a terminal. */
export function ioOf(change: Partial<CliIo>): CliIo {
  return {
    out: () => {},
    err: () => {},
    env: {},
    cwd: '/nonexistent',
    colour: false,
    columns: null,
    now: () => now,
    ask: null,
    stdin: Readable.from([]),
    interrupted: () => new AbortController().signal,
    ...change,
  };
}

/** Runs one command line as a terminal would, without one. */
export async function runAssay(args: readonly string[], change: Partial<CliIo> = {}): Promise<Ran> {
  let out = '';
  let err = '';
  const io = ioOf({
    out: (text) => {
      out += text;
    },
    err: (text) => {
      err += text;
    },
    ...change,
  });
  const code = await runCli(args, io);
  return { code, out, err };
}

/** The environment in which the command line finds a server, as a caller of a role. */
export function environmentOf(server: ApiServer, token: string): Record<string, string> {
  const tokenFile = join(server.dir, token);
  writeFileSync(tokenFile, `${token}\n`, { mode: 0o600 });
  return { ASSAY_SERVER: server.url, ASSAY_TOKEN_FILE: tokenFile, ASSAY_CA_FILE: server.caFile };
}
