import type { z } from 'zod';
import type { ImaArea } from '../../formats/ima-policy.ts';
import { digestOf } from './digest-of.ts';
import { runtimeSchema } from './schema.ts';

/** The rules of a group on what its nodes ran since they booted. */
export interface RuntimeRules {
  /** The policy file says something of it: its nodes are judged by it, whether or not it is required. */
  readonly isWritten: boolean;
  /** Names; null: any active reference of the group. */
  readonly references: readonly string[] | null;
  /** Globs on paths. */
  readonly exclude: readonly string[];
  readonly containers: {
    readonly paths: readonly string[];
    /** Names; null: nobody judges what is there. */
    readonly references: readonly string[] | null;
  } | null;
  readonly paths: 'any' | 'report' | 'exact';
  /** As the file has them. */
  readonly signers: readonly string[];
  readonly violations: 'fail' | 'warn' | 'ignore';
  readonly violationsExcept: readonly string[];
  readonly deny: { readonly digests: readonly Buffer[]; readonly globs: readonly string[] };
  readonly covers: readonly ImaArea[];
  readonly signedPolicy: 'report' | 'required';
}

/** @param given fits the schema and has no contradictions */
export function runtimeRules(given: unknown): RuntimeRules {
  const said = runtimeSchema.parse(given ?? {});
  const deny = said.deny ?? [];
  return {
    isWritten: given !== undefined,
    references: said.references ?? null,
    exclude: said.exclude ?? [],
    containers: said.containers
      ? { paths: said.containers.paths, references: said.containers.references ?? null }
      : null,
    paths: said.paths,
    signers: said.signers ?? [],
    violations: said.violations,
    violationsExcept: said.violationsExcept ?? [],
    deny: {
      digests: deny.map(digestOf).filter((digest) => digest !== null),
      globs: deny.filter((one) => digestOf(one) === null),
    },
    covers: said.policy.covers,
    signedPolicy: said.policy.signed,
  };
}

/** As a policy file says them, defaults filled in. */
export function shownRuntime(rules: RuntimeRules): z.input<typeof runtimeSchema> {
  const { references, exclude, containers, signers, violationsExcept, deny } = rules;
  const denied = [...deny.digests.map((digest) => digest.toString('hex')), ...deny.globs];
  return {
    ...(references !== null && { references: [...references] }),
    ...(exclude.length > 0 && { exclude: [...exclude] }),
    ...(containers !== null && {
      containers: {
        paths: [...containers.paths],
        ...(containers.references !== null && { references: [...containers.references] }),
      },
    }),
    paths: rules.paths,
    ...(signers.length > 0 && { signers: [...signers] }),
    violations: rules.violations,
    ...(violationsExcept.length > 0 && { violationsExcept: [...violationsExcept] }),
    ...(denied.length > 0 && { deny: denied }),
    policy: { covers: [...rules.covers], signed: rules.signedPolicy },
  };
}
