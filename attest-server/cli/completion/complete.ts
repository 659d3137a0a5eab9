import type { Argument, Command, Option } from 'commander';
import { printable } from '../../wire/printable.ts';
import type { CliContext } from '../context.ts';
import { isFiles, kindOfArgument, kindOfOption, type ValueKind, wordsOf } from './kinds.ts';

/** The variable in which a script that knows commands and options says of which version they are; `:stale` if not ours. */
export const scriptVersion = 'ASSAY_COMPLETION_VERSION';

/** A word that fits, and what it means. */
export interface Suggestion {
  readonly word: string;
  readonly text: string;
}

/**
 * `__complete -- WORD...`: what the last word can become, one a line, after a tab what it means; `:files` where names of
 * files fit. What cannot be found out is left out without a word: a shell has no place for it.
 */
export async function complete(
  program: Command,
  context: CliContext,
  words: readonly string[],
): Promise<void> {
  const { [scriptVersion]: script = context.version } = context.io.env;
  if (script !== context.version) context.io.out(':stale\n');
  const typed = read(program, words.slice(0, -1));
  const last = words.at(-1) ?? '';
  for (const [name, value] of typed.global) program.setOptionValue(name, value);
  const { found, files } = await fitting(program, context, typed, last);
  for (const { word, text } of found)
    context.io.out(`${printable(word)}${text === '' ? '' : `\t${printable(text)}`}\n`);
  if (files) context.io.out(':files\n');
}

/** The words before the one that is being typed. */
interface TypedPrefix {
  readonly command: Command;
  /** How many arguments of the command there are already. */
  readonly args: number;
  /** Waits for its value. */
  readonly option: Option | null;
  /** After `--` nothing is an option. */
  readonly isPlain: boolean;
  /** Options that name a server. */
  readonly global: ReadonlyMap<string, string>;
}

function read(program: Command, words: readonly string[]): TypedPrefix {
  const global = new Map<string, string>();
  let command = program;
  let args = 0;
  let option: Option | null = null;
  let isPlain = false;
  const given = (of: Option, value: string) => {
    if (program.options.includes(of)) global.set(of.attributeName(), value);
  };
  for (const word of words) {
    if (option !== null) {
      // bash makes a word of its own of `=`.
      if (word === '=') continue;
      given(option, word);
      option = null;
    } else if (!isPlain && word === '--') isPlain = true;
    else if (!isPlain && word.startsWith('-')) {
      const [flag = '', value] = word.split('=', 2);
      const found = optionOf(program, command, flag);
      if (found === null || found.isBoolean() || !takesValue(found)) continue;
      if (value === undefined) option = found;
      else given(found, value);
    } else {
      const next = args > 0 ? undefined : subcommand(command, word);
      if (next === undefined) args += 1;
      else command = next;
    }
  }
  return { command, args, option, isPlain, global };
}

async function fitting(
  program: Command,
  context: CliContext,
  { command, args, option, isPlain }: TypedPrefix,
  last: string,
): Promise<{ readonly found: readonly Suggestion[]; readonly files: boolean }> {
  if (option !== null) return values(context, kindOfOption(command, option), last === '=' ? '' : last, '');
  if (!isPlain && last.startsWith('-')) {
    const [flag = '', value] = last.split('=', 2);
    if (value === undefined) return { found: optionsOf(program, command, last), files: false };
    const named = optionOf(program, command, flag);
    return named === null
      ? { found: [], files: false }
      : values(context, kindOfOption(command, named), value, `${flag}=`);
  }
  const commands = args > 0 ? [] : subcommands(command, last);
  const argument = argumentAt(command, args);
  if (argument === null) return { found: commands, files: false };
  const { found, files } = await values(context, kindOfArgument(argument.of, argument.is), last, '');
  return { found: [...commands, ...found], files };
}

/** The values to complete with; in a list with commas, the last word is completed. */
async function values(context: CliContext, kind: ValueKind, last: string, before: string) {
  const done = last.slice(0, last.lastIndexOf(',') + 1);
  const begin = last.slice(done.length);
  const found = (await wordsOf(kind, context))
    .filter((word) => word.startsWith(begin))
    .map((word) => ({ word: `${before}${done}${word}`, text: '' }));
  return { found, files: isFiles(kind) };
}

export function subcommands(command: Command, begin: string): readonly Suggestion[] {
  return (
    command
      .createHelp()
      .visibleCommands(command)
      .filter((each) => each.name().startsWith(begin))
      // Each family has it; one is enough, and below `describe` it looks like a node.
      .filter((each) => each.name() !== 'help' || command.parent === null)
      .map((each) => ({ word: each.name(), text: each.description() }))
  );
}

function subcommand(command: Command, word: string): Command | undefined {
  return command.commands.find((each) => each.name() === word || each.aliases().includes(word));
}

export function optionsOf(program: Command, command: Command, begin: string): readonly Suggestion[] {
  const known = [...command.createHelp().visibleOptions(command), ...program.options];
  return [...new Set(known)]
    .filter(({ hidden, long }) => !hidden && long?.startsWith(begin) === true)
    .map(({ long, description }) => ({ word: long ?? '', text: description }));
}

function optionOf(program: Command, command: Command, flag: string): Option | null {
  return (
    [...command.options, ...program.options].find(({ short, long }) => flag === short || flag === long) ??
    null
  );
}

function takesValue({ required, optional }: Option): boolean {
  return required || optional;
}

/** The argument that comes next; the last one may take any number. */
export function argumentAt(command: Command, at: number): { of: Command; is: Argument } | null {
  // `describe node-2` is `describe node node-2`.
  const of = (command.name() === 'describe' ? command.commands[0] : command) ?? command;
  const all = of.registeredArguments;
  const is = all[at] ?? (all.at(-1)?.variadic === true ? all.at(-1) : undefined);
  return is === undefined ? null : { of, is };
}
