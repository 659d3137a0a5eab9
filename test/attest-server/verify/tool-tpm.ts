import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run } from 'node-tpm2/run';
import { launchTpm, type SoftwareTpm } from '../../../swtpm-fixtures/tpm.ts';

/** A software TPM that is spoken to with single tools, so that it can be made to do what node-tpm2 never does. */
export interface ToolTpm extends AsyncDisposable {
  readonly tpm: SoftwareTpm;
  /** Runs a tool, then flushes what it left in the TPM. `@` stands for this TPM's folder. */
  tool(program: string, ...args: string[]): Promise<Buffer>;
  /** Runs a tool of a policy session, which a flush would end. */
  sessionTool(program: string, ...args: string[]): Promise<Buffer>;
  read(name: string): Promise<Buffer>;
  write(name: string, bytes: Buffer): Promise<void>;
}

export async function toolTpm(): Promise<ToolTpm> {
  const tpm = await launchTpm();
  const dir = await mkdtemp(join(tmpdir(), 'assay-tools-'));
  const call = async (program: string, args: readonly string[]) => {
    const words = args.map((arg) => arg.replaceAll('@', `${dir}/`));
    const options = { timeoutMs: 20_000, maxOutputBytes: 65_536, env: { TPM2TOOLS_TCTI: tpm.tcti } };
    return (await run(program, words, options)).stdout;
  };
  return {
    tpm,
    async tool(program, ...args) {
      const output = await call(program, args);
      await call('tpm2_flushcontext', ['-t']);
      return output;
    },
    sessionTool: (program, ...args) => call(program, args),
    read: (name) => readFile(join(dir, name)),
    write: (name, bytes) => writeFile(join(dir, name), bytes),
    async [Symbol.asyncDispose]() {
      await tpm.stop();
      await rm(dir, { recursive: true, force: true });
    },
  };
}

export const akAttributeWords = 'restricted|sign|fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda';

/** Makes a primary signing key in the file `<name>.ctx`, and gives its TPM2B_PUBLIC. */
export async function makeSigningKey(
  tools: ToolTpm,
  name: string,
  hierarchy: 'e' | 'o',
  attributes = akAttributeWords,
  algorithm = 'ecc256:ecdsa-sha256:null',
): Promise<Buffer> {
  const template = ['-C', hierarchy, '-g', 'sha256', '-G', algorithm, '-a', attributes];
  await tools.tool('tpm2_createprimary', ...template, '-c', `@${name}.ctx`);
  await tools.tool('tpm2_readpublic', '-c', `@${name}.ctx`, '-o', `@${name}.pub`);
  return tools.read(`${name}.pub`);
}
