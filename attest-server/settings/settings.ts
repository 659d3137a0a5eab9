/**
 * The configuration of programs: `settings` by file, variable or flag, their schema for editors
 * (`settings-schema`), and every fault reported at once (`config-error`).
 */

import { z } from 'zod';
import { suggestion } from '../formats/nearest.ts';
import { ConfigError, type ConfigFault } from './config-error.ts';

/** One key of a program's configuration. */
export interface Setting<Schema extends z.ZodType = z.ZodType> {
  readonly variable: string;
  readonly flag?: `--${string}`;
  /** For docs/reference-configuration.md, for example `seconds`. */
  readonly unit?: string;
  /** The separator of a list in a variable or flag; default: commas. */
  readonly separator?: RegExp;
  /** With its default and description. It changes no value: the program's `config.ts` builds from what it was given. */
  readonly schema: Schema;
}

/** All keys of a program; a dot stands for a mapping within the file: `approvals.separate`. */
export type Settings = Readonly<Record<string, Setting>>;
export type SettingValues<S extends Settings> = { readonly [Key in keyof S]: z.output<S[Key]['schema']> };

/** Keys of the version before that say nothing any more: for one version they are taken, with a warning. */
export type FormerSettings = Readonly<Record<string, FormerSetting>>;

export interface FormerSetting {
  readonly variable: string;
  /** The setting that holds now, a clause for a person. */
  readonly instead: string;
}

/** A file after parsing (`config-file.ts`). */
export interface ConfigFile {
  readonly name: string;
  readonly value: unknown;
  /** Why it could not be parsed; there is no value then. */
  readonly faults: readonly { readonly line: number; readonly text: string }[];
  /** Where this key or list entry stands; null if that is not known. */
  readonly lineOf: (path: readonly PropertyKey[]) => number | null;
}

/** Where values are from; flags win over the environment, that over the file. An empty variable is none. */
export interface SettingSources<S extends Settings> {
  readonly file: ConfigFile | null;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly flags: SettingFlags<S>;
}
/** By key; undefined or null if the flag was not given. */
export type SettingFlags<S extends Settings> = { readonly [Key in keyof S]?: unknown };

/** A contradiction between values that are right by themselves. */
export interface Contradiction<S extends Settings> {
  readonly key: keyof S & string;
  readonly text: string;
}

/**
 * The value of each setting.
 * @param contradictions asked last, of the values that are right; those that are wrong are undefined
 * @param former keys that a file may still have
 * @throws ConfigError with every fault of every source
 */
export function resolveSettings<S extends Settings>(
  settings: S,
  { file, environment, flags }: SettingSources<S>,
  contradictions: (values: Partial<SettingValues<S>>) => readonly Contradiction<S>[],
  former: FormerSettings = {},
): SettingValues<S> {
  const inFile = settingsInFile(settings, former, file);
  const faults = [...inFile.faults];
  const given = (key: string, setting: Setting): SuppliedValue => {
    const value = flags[key] ?? (environment[setting.variable] || undefined);
    if (value !== undefined) return { value, file: null };
    return { value: inFile.values.get(key), file: inFile.values.has(key) ? file : null };
  };
  const addFault = (key: string, text: string, within: readonly PropertyKey[] = []) => {
    const setting = settings[key];
    const from = setting === undefined ? null : given(key, setting).file;
    faults.push({
      key,
      also: setting === undefined ? [] : alsoNamed(setting),
      file: from?.name ?? null,
      line: from?.lineOf([...key.split('.'), ...within]) ?? null,
      text,
    });
  };
  // Of a file that cannot be parsed nobody knows which keys it has.
  const isComplete = file === null || file.faults.length === 0;
  const found: Record<string, unknown> = {};
  for (const [key, setting] of Object.entries(settings)) {
    const { value } = given(key, setting);
    if (value === undefined && !isComplete) continue;
    const result = setting.schema.safeParse(typeof value === 'string' ? fromText(value, setting) : value);
    if (result.success) found[key] = result.data;
    else if (value === undefined) addFault(key, `is missing: ${setting.schema.description}`);
    else if (value === null) addFault(key, 'is empty: leave it out, or give it a value');
    else
      for (const [text, path] of new Map(result.error.issues.map((issue) => [textOf(issue), issue.path])))
        addFault(key, text, path);
  }
  // Each value came out of its key's schema; where one is missing there is a fault, and nobody gets them.
  const values = found as SettingValues<S>;
  if (isComplete) for (const { key, text } of contradictions(values)) addFault(key, text);
  if (faults.length > 0) throw new ConfigError(faults);
  return values;
}

/** A key that says nothing any more, where somebody still sets it. */
export interface IgnoredSetting extends FormerSetting {
  readonly key: string;
  /** The file that has it; null: the variable does. */
  readonly file: string | null;
  readonly line: number | null;
}

/** Former settings that are still set, for the program to warn of. */
export function ignoredSettings(
  former: FormerSettings,
  { file, environment }: Pick<SettingSources<Settings>, 'file' | 'environment'>,
): readonly IgnoredSetting[] {
  return Object.entries(former).flatMap(([key, setting]) => {
    const path = key.split('.');
    const line = file?.lineOf(path) ?? null;
    return [
      ...(file !== null && hasPath(file.value, path) ? [{ ...setting, key, file: file.name, line }] : []),
      ...(environment[setting.variable] ? [{ ...setting, key, file: null, line: null }] : []),
    ];
  });
}

function hasPath(value: unknown, [name, ...rest]: readonly string[]): boolean {
  if (name === undefined) return true;
  if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) return false;
  return hasPath(Object.entries(value).find(([each]) => each === name)?.[1], rest);
}

/** Where else a setting is set. */
function alsoNamed({ variable, flag }: Setting): string[] {
  return flag === undefined ? [variable] : [variable, flag];
}

interface SuppliedValue {
  /** Undefined if no source has it. */
  readonly value: unknown;
  /** Null if the value is from elsewhere. */
  readonly file: ConfigFile | null;
}

export const logLevels = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'] as const;
export type LogLevel = (typeof logLevels)[number];
export const logLevel = z
  .enum(logLevels, `not one of ${logLevels.join(', ')}`)
  .default('info')
  .describe(`how much is logged: ${logLevels.map((level) => `\`${level}\``).join(', ')}`);

const notPath = 'not a path';
export const path = z
  .string(notPath)
  .min(1, notPath)
  .regex(/^[^\0]*$/, notPath);

interface FileSettings {
  readonly values: ReadonlyMap<string, unknown>;
  readonly faults: readonly ConfigFault[];
}

function settingsInFile(settings: Settings, former: FormerSettings, file: ConfigFile | null): FileSettings {
  const values = new Map<string, unknown>();
  const faults: ConfigFault[] = [];
  const known = Object.keys(settings);
  const taken = [...known, ...Object.keys(former)];
  const addFault = (path: readonly string[], text: string) => {
    const key = path.length === 0 ? null : printable(path.join('.'));
    faults.push({ key, also: [], file: file?.name ?? null, line: file?.lineOf(path) ?? null, text });
  };
  const walk = (path: readonly string[], value: unknown) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value))
      return addFault(path, 'not a mapping of keys to values');
    for (const [name, inner] of Object.entries(value)) {
      const here = [...path, name];
      const key = here.join('.');
      // A name with a dot in it is no path.
      if (!name.includes('.') && Object.hasOwn(settings, key)) values.set(key, inner);
      else if (!name.includes('.') && Object.hasOwn(former, key)) continue;
      else if (!name.includes('.') && taken.some((other) => other.startsWith(`${key}.`))) walk(here, inner);
      else addFault(here, `no such key${suggestion(key, known)}`);
    }
  };
  for (const { line, text } of file?.faults ?? [])
    faults.push({ key: null, also: [], file: file?.name ?? null, line, text });
  // An empty file says nothing.
  if (file !== null && file.value !== null) walk([], file.value);
  return { values, faults };
}

/** The value of a variable or flag in the type that the schema wants; text of another form is left for the schema to refuse. */
function fromText(text: string, { schema, separator = /,/ }: Setting): unknown {
  const inner = withoutDefault(schema);
  if (inner instanceof z.ZodNumber) return /^\s*-?\d+(\.\d+)?\s*$/.test(text) ? Number(text) : text;
  if (inner instanceof z.ZodBoolean) return z.stringbool().safeParse(text.trim()).data ?? text;
  if (inner instanceof z.ZodArray)
    return text
      .split(separator)
      .map((entry) => entry.trim())
      .filter(Boolean);
  return text;
}

/** The schema of a value that is there. */
export function withoutDefault(schema: z.core.$ZodType): z.core.$ZodType {
  return schema instanceof z.ZodDefault || schema instanceof z.ZodNullable
    ? withoutDefault(schema.unwrap())
    : schema;
}

function textOf({ path, message }: z.core.$ZodIssue): string {
  const [entry] = path;
  return typeof entry === 'number' ? `entry ${entry + 1}: ${message}` : message;
}

function printable(key: string): string {
  return key.replace(/[^\x21-\x7e]/g, '?').slice(0, 64);
}
