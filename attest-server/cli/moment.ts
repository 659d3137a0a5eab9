import { CliError, exit } from './exit.ts';

const units = { s: 1, m: 60, h: 3600, d: 86_400 } as const;

/** `30s`, `15m`, `1h`, `2d` -> seconds. @throws CliError (usage) */
export function parseDuration(text: string, option: string): number {
  const [, amount, unit] = /^(\d{1,7})([smhd])$/.exec(text) ?? [];
  if (amount === undefined || !isUnit(unit))
    throw new CliError(
      `${option} ${text} is not a duration`,
      'Write it like 30s, 15m, 1h or 2d.',
      exit.usage,
    );
  return Number(amount) * units[unit];
}

/** When something ends that a person begins now. */
export interface EndingOptions {
  readonly until?: string;
  readonly for?: string;
}

/**
 * As the API takes it: a moment, or how many seconds.
 * @param longest seconds
 * @throws CliError (usage) if neither or both are given, or one is wrong
 */
export function endOf(
  command: string,
  { until, for: duration }: EndingOptions,
  longest: number,
): { readonly until: string } | { readonly forSeconds: number } {
  if ((until === undefined) === (duration === undefined))
    throw new CliError(
      `${command} needs either --until or --for`,
      'It ends by itself: say when, like --for 2h.',
      exit.usage,
    );
  if (duration === undefined) return { until: momentOf(until ?? '') };
  const seconds = parseDuration(duration, '--for');
  if (seconds < 1 || seconds > longest)
    throw new CliError(`--for ${duration} is not between 1s and ${longest / 86_400}d`, null, exit.usage);
  return { forSeconds: seconds };
}

function momentOf(text: string): string {
  const at = /^\d{4}-\d\d-\d\dT/.test(text) ? Date.parse(text) : Number.NaN;
  if (!Number.isFinite(at))
    throw new CliError(
      `--until ${text} is not a moment`,
      'Write it like 2026-12-01T08:00:00Z, or how long with --for 2h.',
      exit.usage,
    );
  return new Date(at).toISOString();
}

/**
 * `2h` ago, or a moment as RFC 3339.
 * @returns RFC 3339
 * @throws CliError (usage)
 */
export function pastMoment(text: string, option: string, now: number): string {
  const isDuration = /^\d+[a-z]?$/.test(text);
  const isMoment = /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)$/.test(text);
  const at = isDuration ? now - parseDuration(text, option) * 1000 : isMoment ? Date.parse(text) : Number.NaN;
  if (!Number.isFinite(at))
    throw new CliError(
      `${option} ${text} is neither a duration nor a moment`,
      'Write it like 30m, 2h or 7d, or like 2026-12-01T08:00:00Z.',
      exit.usage,
    );
  return new Date(at).toISOString();
}

function isUnit(unit: string | undefined): unit is keyof typeof units {
  return unit !== undefined && unit in units;
}

/** How long ago a moment was, for tables: `12s`, `5m`, `3h`, `2d`; `-` where there is none. */
export function ago(moment: string | null, now: number): string {
  if (moment === null) return '-';
  const seconds = Math.max(0, Math.round((now - Date.parse(moment)) / 1000));
  if (!Number.isFinite(seconds)) return '-';
  if (seconds < 120) return `${seconds}s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)}m`;
  if (seconds < 172_800) return `${Math.floor(seconds / 3600)}h`;
  return `${Math.floor(seconds / 86_400)}d`;
}

/** `5m ago`, or `in 3h`. */
export function relative(at: string, now: number): string {
  const then = Date.parse(at);
  return then > now ? `in ${ago(new Date(now).toISOString(), then)}` : `${ago(at, now)} ago`;
}

/** A moment in a table: how long ago it was, or the moment itself. */
export function tableTime(moment: string | null, now: number, absolute: boolean): string {
  return absolute ? utc(moment) : ago(moment, now);
}

/** RFC 3339 UTC without fractions of a second. */
export function utc(moment: string | null): string {
  return moment === null ? '-' : moment.replace(/\.\d+Z$/, 'Z');
}
