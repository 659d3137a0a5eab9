import { parseArgs } from 'node:util';
import { differences, memberOf } from './answer.ts';
import { isReplayed, readRecording } from './recording.ts';
import { replay } from './replay.ts';

/**
 * Prints in what the API server of the tests answers otherwise than kube-apiserver did, by case:
 * `main.ts [--case TEXT] [--summary] [--rows]`. A case needs those before it, so all are replayed.
 */
async function main(): Promise<void> {
  const options = {
    case: { type: 'string' },
    summary: { type: 'boolean' },
    rows: { type: 'boolean' },
  } as const;
  const { values } = parseArgs({ options });
  const replayed = await replay(readRecording().filter(isReplayed));
  const compared = replayed.map((one) => ({ ...one, members: differences(one.real, one.ours) }));
  const differing = compared.filter(({ members }) => members.length > 0);
  const byCase = Map.groupBy(
    differing.filter(({ request }) => request.case.includes(values.case ?? '')),
    ({ request }) => request.case,
  );
  const lines: string[] = [];
  for (const [name, its] of byCase) {
    if (values.summary) {
      lines.push(`${its.length}\t${name}`);
      continue;
    }
    lines.push('', `## ${name}`, '');
    if (values.rows) {
      lines.push(
        ...its.map(({ request, members }) => `| ${request.step} | ${members.join(', ')} | not yet |`),
      );
      continue;
    }
    for (const { request, real, ours, members } of its) {
      const { n, step, note = '', method, path, query = '' } = request;
      lines.push(`${n} (step ${step}) ${note && `${note}: `}${method} ${path}${query}`);
      lines.push(`  sent ${request.contentType ?? ''} ${cut(request.template?.body ?? request.body)}`);
      lines.push(`  real ${real.status} ${textOf(real.body)}`, `  ours ${ours.status} ${textOf(ours.body)}`);
      for (const member of members) {
        lines.push(
          `  ${member}: real ${cut(memberOf(member, real))}`,
          `  ${' '.repeat(member.length)}  ours ${cut(memberOf(member, ours))}`,
        );
      }
    }
  }
  lines.push('', `${compared.length - differing.length} of ${compared.length} requests are answered alike`);
  process.stdout.write(`${lines.join('\n')}\n`);
}

function textOf(body: unknown): string {
  if (typeof body !== 'object' || body === null || !('message' in body)) return '';
  return String(body.message).slice(0, 400);
}

function cut(value: unknown): string {
  return (JSON.stringify(value) ?? '').slice(0, 1200);
}

await main();
