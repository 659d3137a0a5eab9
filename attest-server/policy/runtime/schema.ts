import { z } from 'zod';
import { imaAreas } from '../../formats/ima-policy.ts';
import { plainName } from '../../formats/reference.ts';

/** Without one of these a program runs, or a kernel changes, that no list has. */
const defaultCovers = imaAreas.filter((area) => area !== 'keys');

const names = z.array(plainName).min(1, 'empty, so that no file could be known; leave it out').max(64);
const glob = z.string().min(1, 'empty').max(1024);
const globs = z.array(glob).min(1, 'empty: leave it out').max(256);

/** The grammar of the key `runtime` in a policy file. */
export const runtimeSchema = z.strictObject({
  references: names
    .optional()
    .describe(
      'names of references of kind runtime, any of which may know a file; default: any active one of the group',
    ),
  exclude: globs
    .optional()
    .describe('globs on paths: files there may hold anything, but for what deny and revoked references name'),
  containers: z
    .strictObject({
      paths: globs.describe(
        'globs on paths below which containers have their files, as the kernel names them',
      ),
      references: names
        .optional()
        .describe('names of references that must know these files; default: they are not judged'),
    })
    .optional()
    .describe('files that are kept apart from those of the host'),
  paths: z
    .enum(['any', 'report', 'exact'])
    .default('any')
    .describe(
      'what a known file may be called. any: what it holds counts alone; report: it is told where no reference has it at this path; exact: such a file is unknown',
    ),
  signers: z
    .array(z.string().min(1, 'empty').max(16_384))
    .min(1, 'empty: leave it out')
    .max(32)
    .optional()
    .describe(
      'public keys or certificates, PEM or DER in base64: a file that one of them signed (security.ima) is known',
    ),
  violations: z
    .enum(['fail', 'warn', 'ignore'])
    .default('warn')
    .describe('files that were written to while they were measured, so that nobody knows what was read'),
  violationsExcept: globs
    .optional()
    .describe('globs on paths where violations count for nothing; root can give a violation any path'),
  deny: z
    .array(glob)
    .min(1, 'empty: leave it out')
    .max(1024)
    .optional()
    .describe('digests in hex, or globs on paths: a file that may never run, whoever knows it'),
  policy: z
    .strictObject({
      covers: z
        .array(z.enum(imaAreas))
        .min(1, 'empty: IMA would have to measure nothing')
        .default([...defaultCovers])
        .describe(
          'what the IMA policy in force must measure; rootReads includes kexec. Default: all but keys',
        ),
      signed: z
        .enum(['report', 'required'])
        .default('report')
        .describe(
          'required: the command line must demand signed IMA policies (ima_policy=secure_boot), so that root cannot write others without a trace',
        ),
    })
    .prefault({})
    .describe('what the kernel must measure, by the IMA policy in force'),
});
