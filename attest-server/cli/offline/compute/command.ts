import { basename, resolve } from 'node:path';
import type { Reference } from '../../../formats/reference.ts';
import { Rejection } from '../../../wire/rejection.ts';
import type { CliContext } from '../../context.ts';
import { CliError, exit } from '../../exit.ts';
import { type Format, print } from '../../output.ts';
import { readFile } from '../../read-file.ts';
import { into } from '../../write-file.ts';
import { readBootFile } from '../boot/file.ts';
import { bootReference, type ReferenceComponent } from '../boot-reference.ts';
import { checkNames } from '../check-names.ts';
import {
  commandLineComponent,
  initrdComponents,
  kernelComponents,
  loaderComponent,
  type Starter,
  starters,
} from './parts.ts';
import { unifiedComponents } from './unified.ts';

export interface ComputeOptions extends BootFiles {
  readonly file?: string;
  readonly output: Format;
}

/** The files of a boot as typed, and for whom it is to be a reference. */
interface BootFiles {
  readonly name: string;
  readonly group: string;
  readonly kernel: readonly string[];
  readonly initrd: readonly string[];
  readonly loader: readonly string[];
  readonly uki?: string;
  readonly cmdline?: string;
  readonly cmdlineFile?: string;
  readonly via: string;
  readonly secureBoot: boolean;
  readonly state: string;
}

/** `reference compute`: what a boot of these files measures, as a reference file; offline. */
export async function writeComputedReference({ io }: CliContext, options: ComputeOptions): Promise<void> {
  const at = (path: string) => resolve(io.cwd, path);
  await print(into(options.file, io), options.output, computeReference(options, at), () => '');
}

/** @param at where a path lies that somebody typed; @throws CliError for what cannot be measured */
export function computeReference(options: BootFiles, at: (path: string) => string): Reference {
  checkOptions(options);
  const starter = oneOf(starters, options.via, '--via');
  const components = componentsOf(options, starter, at);
  if (components.length === 0)
    throw new CliError(
      'nothing is given to compute a reference from',
      'Give --kernel, --initrd, --loader, --uki or --cmdline.',
      exit.usage,
    );
  const { name, group } = options;
  const state = oneOf(['staged', 'active'] as const, options.state, '--state');
  return bootReference({ name, group, state }, components);
}

function componentsOf(
  options: BootFiles,
  starter: Starter,
  at: (path: string) => string,
): ReferenceComponent[] {
  const { kernel, initrd, loader, uki } = options;
  const line = commandLineOf(options, at);
  return [
    ...loader.map((path) => named(path, () => loaderComponent(at(path)))),
    ...(uki === undefined ? [] : named(uki, () => unifiedComponents(readBootFile(at(uki)), basename(uki)))),
    ...kernel.flatMap((path) => named(path, () => kernelComponents(at(path), starter, options.secureBoot))),
    ...(initrd.length === 0 ? [] : initrdComponents(initrd.map(at), starter)),
    ...(line === null ? [] : [commandLineComponent(line, starter)]),
  ];
}

function commandLineOf({ cmdline, cmdlineFile }: BootFiles, at: (path: string) => string): string | null {
  const text = cmdlineFile === undefined ? cmdline : readFile(at(cmdlineFile)).toString('utf8');
  if (text === undefined) return null;
  const line = text.replace(/\n$/, '');
  if (line.trim() === '' || line.length > 4096 || /[\n\0]/.test(line))
    throw new CliError(
      `the command line ${cmdlineFile === undefined ? '' : `in ${cmdlineFile} `}is not one line of 1 to 4096 characters`,
      'Give it as /proc/cmdline shows it.',
      exit.error,
    );
  return line;
}

/** Refuses options that contradict each other before any file is read. */
function checkOptions({ name, group, kernel, initrd, uki, cmdline, cmdlineFile, via }: BootFiles): void {
  const usage = (text: string, hint: string) => new CliError(text, hint, exit.usage);
  checkNames({ name, group });
  // No boot would have both, so that the reference would make none known.
  if (kernel.length > 1) throw usage('a boot starts one kernel', 'Compute a reference of each kernel.');
  if (cmdline !== undefined && cmdlineFile !== undefined)
    throw usage('--cmdline and --cmdline-file do not go together', 'Give one of them.');
  if (
    uki !== undefined &&
    (kernel.length > 0 || initrd.length > 0 || cmdline !== undefined || cmdlineFile !== undefined)
  )
    throw usage(
      'a unified image already contains kernel, initrd and command line',
      'Give --uki without the other files.',
    );
  if (via === 'firmware' && initrd.length > 0)
    throw usage(
      'nothing measures an initrd that the kernel reads itself',
      'Put it into a unified image (--uki), or have a loader read it.',
    );
}

function oneOf<T extends string>(allowed: readonly T[], given: string, option: string): T {
  const found = allowed.find((one) => one === given);
  if (found === undefined)
    throw new CliError(`${option} ${given} is not known`, `It may be ${allowed.join(', ')}.`, exit.usage);
  return found;
}

/** A fault within a file says which one, where, and why. */
function named<T>(path: string, compute: () => T): T {
  try {
    return compute();
  } catch (cause) {
    if (!(cause instanceof Rejection)) throw cause;
    throw new CliError(
      `${path} cannot be measured: offset ${cause.offset ?? 0}, field ${cause.field ?? 'file'}: ${cause.message}`,
      'Name the file that the machine boots: a PE image (kernel, loader, unified kernel image).',
      exit.error,
      cause,
    );
  }
}
