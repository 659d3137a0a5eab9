import { z } from 'zod';
import type { Proven } from '../../verify/proven.ts';
import { compareKernels, parseKernelRelease } from '../../wire/kernel-release.ts';
import type { DraftedRules, ObservedNode } from '../aspect.ts';
import { isNotSaid, outcomesOf } from './outcomes.ts';
import { hostRules } from './rules.ts';

const observed = z.object({
  /** As `uname -r` prints it. */
  kernel: z.string().max(128).nullable(),
  /** Null if it cannot be determined. */
  ssh: z.enum(['closed', 'open']).nullable(),
  /** Codes of what breaks the default rules besides. */
  against: z.array(z.string().max(64)).max(16),
});

/** The node's claims about its host; null if it makes none. */
export function observeHost({ facts }: Proven): z.infer<typeof observed> | null {
  const said = facts?.host;
  if (said === undefined || said.listening === undefined) return null;
  const outcomes = outcomesOf(said, hostRules({}));
  const ssh = outcomes.find(({ code }) => code === 'ssh_reachable')?.findings ?? [];
  const others = outcomes.filter(({ code }) => code !== 'ssh_reachable').flatMap(({ findings }) => findings);
  return {
    kernel: said.kernel ?? null,
    ssh: ssh.length === 0 ? 'closed' : ssh.some(isNotSaid) ? null : 'open',
    against: [...new Set(others.map(({ code }) => code))],
  };
}

/** The oldest kernel that was seen is the least one; SSH stays closed where it is. */
export function draftHost(nodes: readonly ObservedNode[]): DraftedRules | null {
  const read = nodes.flatMap(({ node, said }) => {
    const { data } = observed.safeParse(said);
    return data === undefined ? [] : [{ node, ...data }];
  });
  if (read.length === 0) return null;
  const named = (which: (typeof read)[number][]) => which.map(({ node }) => node).join(', ');
  const open = read.filter(({ ssh }) => ssh === 'open');
  const unknown = read.filter(({ ssh }) => ssh === null);
  const broken = read.filter(({ against }) => against.length > 0);
  const minimum = oldest(read.map(({ kernel }) => kernel));
  const notes = [
    ...(open.length === 0 ? [] : [`SSH listens on ${named(open)}`]),
    ...(unknown.length === 0 ? [] : [`whether SSH listens cannot be told of ${named(unknown)}`]),
    ...broken.map(({ node, against }) => `${node}: ${against.join(', ')}`),
    ...(minimum === null ? [] : [`the oldest kernel that was seen is ${minimum}`]),
  ];
  const isClosed = open.length + unknown.length === 0;
  return {
    rules: {
      ...(minimum !== null && { kernel: { minimum } }),
      ssh: isClosed || open.length === 0 ? 'closed' : 'report',
    },
    holds: unknown.length + broken.length === 0 && read.length === nodes.length,
    notes,
  };
}

/** The part of a distribution's release that a policy may name: `6.12.48` of `6.12.48+deb13-amd64`. */
function oldest(kernels: readonly (string | null)[]): string | null {
  const releases = kernels.flatMap((kernel) => {
    const release = kernel === null ? null : parseKernelRelease(kernel);
    return release === null ? [] : [release];
  });
  const [first, ...others] = releases;
  if (first === undefined) return null;
  const least = others.reduce((old, one) => (compareKernels(one, old) < 0 ? one : old), first);
  const candidate = Number.isFinite(least.candidate) ? `-rc${least.candidate}` : '';
  return `${least.version.join('.')}${candidate}`;
}
