import { run } from 'node-tpm2/run';
import { z } from 'zod';
import { nftOutput } from '../../../../attest-server/protocol/firewall.ts';

/** Runs programs in the network namespace that it was started in, and shows what the real ones print of its rules. */
const steps = z.array(z.union([z.array(z.string()).min(1), z.literal('show')]));
/** The usual lock of iptables-legacy is a file of root's, and nobody else changes rules here. */
const env = { XTABLES_LOCKFILE: '/dev/null' };
const bounds = { timeoutMs: 10_000, maxOutputBytes: 16 * 1024 * 1024, env };

const shown: unknown[] = [];
for (const step of steps.parse(JSON.parse(process.argv[2] ?? '[]'))) {
  const [program = '', ...args] = step === 'show' ? [] : step;
  if (step === 'show') shown.push(await part());
  else await run(program, args, bounds);
}
process.stdout.write(JSON.stringify(shown));

async function part(): Promise<unknown> {
  const { nftables } = nftOutput.parse(JSON.parse((await printed('nft', '-j', 'list', 'ruleset')) ?? ''));
  return {
    version: 1,
    nft: nftables,
    iptables: { ip: await printed('iptables-nft-save'), ip6: await printed('ip6tables-nft-save') },
    legacy: { ip: await printed('iptables-legacy-save'), ip6: await printed('ip6tables-legacy-save') },
    owned: [],
  };
}

async function printed(program: string, ...args: readonly string[]): Promise<string | null> {
  const text = (await run(program, args, bounds)).stdout.toString('utf8');
  return text === '' ? null : text;
}
