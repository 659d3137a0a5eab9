import { z } from 'zod';
import { plainName } from '../../formats/reference.ts';
import { valuePcrs } from '../../wire/value-pcrs.ts';
import { maskNames } from './named-masks.ts';
import { type BootRules, commandLineScopes, defaultBootRules, digestScopes, initrdScopes } from './rules.ts';

const argumentGlob = z
  .string()
  .min(1, 'empty, so that no argument could match')
  .max(512)
  .refine(isOneArgument, 'holds a blank, and no argument does: one glob matches one whole argument');

const signer = z
  .string()
  .min(1, 'empty, so that no certificate could match')
  .max(512)
  .refine(
    (text) => !/^[0-9a-fA-F:]{32,}$/.test(text) || /^[0-9a-f]{64}$/.test(text),
    'looks like a fingerprint, and is not a SHA-256 one: 64 lower-case hex digits without colons',
  );

const digest = z
  .string()
  .regex(
    /^([0-9a-f]{64}|[0-9a-f]{96}|[0-9a-f]{128})$/,
    'not a digest of 64, 96 or 128 lower-case hex digits',
  );

/** PCR 10 holds what the running system measures; from 16 on there is nothing of a boot. */
const bootPcr = z
  .int()
  .refine((pcr) => pcr >= 0 && pcr <= 15 && pcr !== 10, 'not a PCR of the boot: 0 to 9, or 11 to 15');

const globs = z.array(argumentGlob).max(256);
const ofDigest = z.enum(digestScopes).optional();

/** `boot` of a group: what is wanted of a boot, by meaning. */
export const bootSchema = z.strictObject({
  references: z
    .array(plainName)
    .min(1, 'empty, so that no boot could match; leave it out for any active reference of the group')
    .max(256)
    .optional()
    .describe(
      'names of references: one of them must cover each stage of the boot; default: any active reference of the group',
    ),
  secureBoot: z
    .enum(['required', 'report'])
    .optional()
    .describe('required: Secure Boot must be on, and the TPM must have measured that; default: report'),
  signers: z
    .array(signer)
    .min(1, 'empty, so nobody could sign; leave it out to judge by the references')
    .max(256)
    .optional()
    .describe('who may sign what boots: SHA-256 of a certificate, or a glob on its subject'),
  dbx: z
    .strictObject({
      contains: z.array(digest).min(1, 'empty: name a digest, or leave it out').max(4096).optional(),
      reference: plainName.optional(),
    })
    .refine((dbx) => dbx.contains !== undefined || dbx.reference !== undefined, {
      error: 'empty: name contains or reference',
    })
    .optional()
    .describe('revocations that the machine must have: digests, or all those of a reference'),
  sbat: z
    .strictObject({
      minimum: z.int().refine(isSbatLevel, 'not a date of an SBAT level, as 2023012900'),
    })
    .optional()
    .describe('the least level of shim’s own revocations'),
  mok: z
    .enum(['forbid', 'allow'])
    .optional()
    .describe('machine owner keys: none, or any; default: those of the references'),
  cmdline: z
    .strictObject({
      require: globs.optional().describe('globs: each must match an argument'),
      forbid: globs.optional().describe('globs: none may match an argument'),
      allow: globs.optional().describe('globs: arguments that may come on top of those in the reference'),
      exact: z.string().min(1, 'empty: leave it out').max(4096).optional().describe('the whole line'),
      resume: z
        .literal('forbid')
        .optional()
        .describe(
          'forbid: each line must have nohibernate, hibernate=no or lockdown=…, so that no image is resumed from a disk',
        ),
    })
    .optional()
    .describe('rules on the kernel’s command line; a glob matches one whole argument, as init=*'),
  scope: z
    .strictObject({
      firmware: ofDigest,
      loader: ofDigest,
      kernel: ofDigest,
      initrd: z
        .enum(initrdScopes)
        .optional()
        .describe(
          'contents: not the digest of the image counts, but each file in it, by references of kind runtime',
        ),
      cmdline: z.enum(commandLineScopes).optional(),
    })
    .optional()
    .describe('for which machines a reference counts, stage by stage; model is an older word for group'),
  masks: z
    .array(z.enum(maskNames))
    .min(1, 'empty: leave it out')
    .max(maskNames.length)
    .optional()
    .describe('systems that update their two places in turns: what tells one from the other is not compared'),
  explained: z
    .array(bootPcr)
    .min(1, 'empty: leave it out')
    .max(16)
    .optional()
    .describe('PCRs in which every event must be known'),
  byValue: z
    .array(z.literal(valuePcrs))
    .min(1, 'empty: leave it out')
    .max(valuePcrs.length)
    .optional()
    .describe(
      'PCRs of the firmware that are compared by value where the log does not replay onto them: 0, 2, 6',
    ),
  tpmFirmware: z
    .strictObject({
      deny: z
        .array(z.string().regex(/^[0-9a-f]{16}$/, 'not a TPM firmware version: 16 lower-case hex digits'))
        .min(1, 'empty: leave it out')
        .max(256),
    })
    .optional()
    .describe('versions of TPM firmware that are not allowed'),
  withoutLog: z
    .enum(['pending', 'pcrs'])
    .optional()
    .describe('how to judge a boot without a log: pending, or by its PCR values (pcrs)'),
  aggregate: z
    .enum(['required', 'report'])
    .optional()
    .describe(
      'required: IMA’s boot_aggregate must prove that nothing was measured again after the kernel had started; default: report',
    ),
});

/** The rules as they are judged by: what the file leaves out has its default. @param given fits the schema */
export function bootRules(given: unknown): BootRules {
  const file = bootSchema.parse(given ?? {});
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
      resume: file.cmdline?.resume ?? cmdline.resume,
    },
    scope: {
      firmware: file.scope?.firmware ?? scope.firmware,
      loader: file.scope?.loader ?? scope.loader,
      kernel: file.scope?.kernel ?? scope.kernel,
      initrd: file.scope?.initrd ?? scope.initrd,
      cmdline: file.scope?.cmdline ?? scope.cmdline,
    },
    masks: file.masks ?? none.masks,
    explained: file.explained ?? none.explained,
    byValue: [...new Set(file.byValue ?? none.byValue)],
    tpmFirmwareDeny: file.tpmFirmware?.deny ?? none.tpmFirmwareDeny,
    withoutLog: file.withoutLog ?? none.withoutLog,
    aggregate: file.aggregate ?? none.aggregate,
  };
}

/** An argument may hold blanks only between double quotes, as the kernel reads it. */
function isOneArgument(glob: string): boolean {
  return !/\s/.test(glob.replace(/"[^"]*"/g, ''));
}

/** Year, month, day, and a count of two digits. */
function isSbatLevel(level: number): boolean {
  const [, year, month, day] = /^(\d{4})(\d{2})(\d{2})\d{2}$/.exec(String(level)) ?? [];
  return (
    Number(year) >= 2021 && Number(month) >= 1 && Number(month) <= 12 && Number(day) >= 1 && Number(day) <= 31
  );
}
