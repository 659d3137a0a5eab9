import { type BootRules, defaultBootRules } from '../boot/rules.ts';
import type { BuiltAspect, PolicyGroup } from '../policy.ts';
import type { GroupInFile } from './policy-schema.ts';

/** A group as it is judged by: what the file leaves out has its default. */
export function policyGroup(file: GroupInFile): PolicyGroup {
  return {
    name: file.name,
    nodes: file.nodes,
    labels: file.labels,
    mode: file.mode,
    tpm: file.tpm,
    tpmClass: file.tpmClass ?? null,
    enrolment: [...new Set(file.enrolment)],
    require: [...new Set(file.require.map(aspectOf))],
    boot: bootRules(file.boot ?? {}),
    freshness: file.freshness ?? null,
    severity: file.severity,
  };
}

/** Every aspect of this version is vouched for by the TPM, so that `{boot: tpm}` says no more than `boot`. */
function aspectOf(required: GroupInFile['require'][number]): BuiltAspect {
  if (typeof required === 'string') return required;
  return 'boot' in required ? 'boot' : 'identity';
}

function bootRules(file: NonNullable<GroupInFile['boot']>): BootRules {
  const { scope, cmdline, ...none } = defaultBootRules;
  return {
    references: file.references ?? none.references,
    secureBoot: file.secureBoot ?? none.secureBoot,
    signers: file.signers ?? none.signers,
    dbx: { contains: file.dbx?.contains ?? [], reference: file.dbx?.reference ?? null },
    sbatMinimum: file.sbat?.minimum ?? none.sbatMinimum,
    mok: file.mok ?? none.mok,
    cmdline: {
      require: file.cmdline?.require ?? cmdline.require,
      forbid: file.cmdline?.forbid ?? cmdline.forbid,
      allow: file.cmdline?.allow ?? cmdline.allow,
      exact: file.cmdline?.exact ?? cmdline.exact,
    },
    scope: {
      firmware: file.scope?.firmware ?? scope.firmware,
      loader: file.scope?.loader ?? scope.loader,
      kernel: file.scope?.kernel ?? scope.kernel,
      initrd: file.scope?.initrd ?? scope.initrd,
      cmdline: file.scope?.cmdline ?? scope.cmdline,
    },
    explained: file.explained ?? none.explained,
    tpmFirmwareDeny: file.tpmFirmware?.deny ?? none.tpmFirmwareDeny,
    withoutLog: file.withoutLog ?? none.withoutLog,
  };
}
