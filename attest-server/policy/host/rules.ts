import { z } from 'zod';
import { type KernelRelease, parseKernelRelease } from '../../wire/kernel-release.ts';
import { type SysctlName, sysctlNames } from '../../wire/sysctls.ts';
import { type KernelTaint, taintLetters } from './taints.ts';

/** The rules of a group on a machine and its kernel, as they run. All of it is judged by what the node says. */
export interface HostRules {
  /** The file says something under the key: what is missing is reported, even where nothing requires the aspect. */
  readonly isWritten: boolean;
  /** The least release of the kernel; null: any. */
  readonly minimumKernel: { readonly text: string; readonly release: KernelRelease } | null;
  readonly forbiddenTaints: readonly KernelTaint[];
  /** A warning, unless the kernel is locked down: such a kernel loads nothing of the kind. */
  readonly suspectTaints: readonly KernelTaint[];
  /** `report`: nothing is found, the facts are kept. */
  readonly ssh: 'closed' | 'report';
  /** Ports on which SSH may listen besides 22 and those of its configuration. */
  readonly sshPorts: readonly number[];
  /** The least lockdown; null: any. */
  readonly lockdown: 'integrity' | 'confidentiality' | null;
  readonly sysctls: readonly SysctlRule[];
}

export interface SysctlRule {
  readonly name: SysctlName;
  /** Values of which it must have one; null: see `minimum`. */
  readonly values: readonly string[] | null;
  /** The least value; null: see `values`. */
  readonly minimum: number | null;
}

/**
 * Taints that no working driver sets: modules loaded or unloaded by force, ACPI tables replaced. `P` and `O` are not among
 * them, since the drivers of GPUs and storage set both.
 */
const usualTaints: readonly KernelTaint[] = ['F', 'R', 'A'];
/** An unsigned module: what DKMS and the operators of GPUs build on the node is one, and so is a rootkit. */
const usualSuspects: readonly KernelTaint[] = ['E'];

const number = z
  .union([z.int(), z.string().regex(/^-?\d{1,15}$/, 'not a number: sysctls of this list are numbers')])
  .transform(String);

const sysctlRule = z.union(
  [
    number,
    z.array(number).min(1, 'empty, so that no value could do; leave the sysctl out').max(16),
    z.strictObject({ minimum: z.int().describe('the least value') }),
  ],
  'not a number, a list of numbers, or {minimum: n}',
);

const collected: readonly string[] = sysctlNames;
const sysctlName = z
  .string()
  .superRefine((name, { addIssue }) => {
    if (name === 'kernel.kexec_load_disabled')
      addIssue('boot judges this one (kexec_possible), and no other aspect does: leave it out');
    else if (!collected.includes(name))
      addIssue(`not collected; the sysctls that are: ${collected.join(', ')}`);
  })
  .meta({ enum: [...sysctlNames] });

/** `host` of a group: what is wanted of a machine and its kernel as they run. */
export const hostSchema = z.strictObject({
  kernel: z
    .strictObject({
      minimum: z
        .string('write the release as text, in quotes: "6.12"')
        .max(64)
        .regex(
          /^\d{1,5}\.\d{1,5}(\.\d{1,5})?(-rc\d{1,5})?(-\d{1,9}(\.\d{1,9}){0,7})?$/,
          'not a release of the kernel, as "6.12", "6.12.48" or "6.8.0-49"',
        )
        .describe('the least release, as uname -r prints it: "6.12", "6.12.48", "6.8.0-49"'),
    })
    .optional()
    .describe('the kernel that runs, by its own word; which file it was, boot judges'),
  taints: z
    .strictObject({
      forbid: z
        .array(z.enum(taintLetters))
        .max(taintLetters.length)
        .describe('letters of /proc/sys/kernel/tainted; [] forbids none'),
    })
    .optional()
    .describe(
      `marks that the kernel must not have; default: forbid: [${usualTaints.join(', ')}], and ${usualSuspects.join(', ')} where the kernel is locked down (else a warning)`,
    ),
  ssh: z
    .enum(['closed', 'report'])
    .optional()
    .describe(
      'closed: no SSH listens on the node; report: what listens is kept as evidence; default: closed',
    ),
  sshPorts: z
    .array(z.int().min(1).max(65_535))
    .min(1, 'empty: leave it out')
    .max(32)
    .optional()
    .describe('ports on which SSH may be, besides 22 and those of its configuration'),
  lockdown: z
    .enum(['integrity', 'confidentiality', 'report'])
    .optional()
    .describe('the least lockdown of the kernel; default: report'),
  sysctls: z
    .record(sysctlName, sysctlRule)
    .optional()
    .describe('by name, the value, the values that may be, or {minimum: n}'),
});

/** The rules as they are judged by: what the file leaves out has its default. @param given fits the schema */
export function hostRules(given: unknown): HostRules {
  const file = hostSchema.parse(given ?? {});
  const minimum = file.kernel?.minimum ?? null;
  const release = minimum === null ? null : parseKernelRelease(minimum);
  return {
    isWritten: given !== undefined,
    minimumKernel: minimum === null || release === null ? null : { text: minimum, release },
    forbiddenTaints: file.taints?.forbid ?? usualTaints,
    suspectTaints: file.taints === undefined ? usualSuspects : [],
    ssh: file.ssh ?? 'closed',
    sshPorts: file.sshPorts ?? [],
    lockdown: file.lockdown === undefined || file.lockdown === 'report' ? null : file.lockdown,
    sysctls: sysctlNames.flatMap((name) => {
      const rule = file.sysctls?.[name];
      return rule === undefined ? [] : [sysctlRuleOf(name, rule)];
    }),
  };
}

function sysctlRuleOf(name: SysctlName, rule: z.output<typeof sysctlRule>): SysctlRule {
  if (typeof rule === 'string') return { name, values: [rule], minimum: null };
  if ('minimum' in rule) return { name, values: null, minimum: rule.minimum };
  return { name, values: rule, minimum: null };
}
