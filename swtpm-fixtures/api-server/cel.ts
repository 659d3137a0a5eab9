import { Environment, type Optional } from '@marcbachmann/cel-js';
import { isList, isObject, type Json } from './json.ts';

/** An expression that was checked once. */
export interface Program {
  /** @throws Error where it does not evaluate */
  evaluate(variables: Readonly<Record<string, unknown>>): unknown;
}

export type Compiled = { readonly program: Program } | { readonly fault: string };

/** Values of JSON as expressions see them: whole numbers are `int`. */
export function celValue(value: Json): unknown {
  if (typeof value === 'number') return Number.isInteger(value) ? BigInt(value) : value;
  if (isList(value)) return value.map(celValue);
  if (!isObject(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, celValue(member)]));
}

/** Elements of maps and lists that one expression may look at: less than what the real one's limit of cost lets it. */
const mostElements = 1_000_000;
/** Loops over fewer, some deep, stay within. */
const leastCounted = 32;

/** Counts what an expression looks at, and stops it where the real one would have done so long before. */
export class Budget {
  #left = mostElements;

  restart(): void {
    this.#left = mostElements;
  }

  /** `celValue`, whose larger maps and lists count how they are walked through. */
  counted(value: Json): unknown {
    if (isList(value)) {
      const items = value.map((item) => this.counted(item));
      if (items.length < leastCounted) return items;
      return new Proxy(items, {
        get: (target, name, receiver) => {
          if (typeof name === 'string' && /^\d/.test(name)) this.#spend(1);
          return Reflect.get(target, name, receiver);
        },
      });
    }
    if (!isObject(value)) return celValue(value);
    const members = Object.fromEntries(
      Object.entries(value).map(([name, member]) => [name, this.counted(member)]),
    );
    const count = Object.keys(members).length;
    if (count < leastCounted) return members;
    return new Proxy(members, {
      ownKeys: (target) => {
        this.#spend(count);
        return Reflect.ownKeys(target);
      },
    });
  }

  #spend(elements: number): void {
    this.#left -= elements;
    if (this.#left < 0) throw new Error('operation cancelled: actual cost limit exceeded');
  }
}

/** Checks an expression against the variables that it may name. @param wanted its type; null: any */
export function compile(
  environment: Environment,
  expression: string,
  wanted: 'bool' | 'string' | null,
): Compiled {
  const checked = environment.check(expression);
  if (!checked.valid) return { fault: firstLine(checked.error?.message ?? 'it is no expression') };
  const { type = 'dyn' } = checked;
  if (wanted !== null && type !== 'dyn' && type !== wanted) return { fault: `must evaluate to ${wanted}` };
  const parsed = environment.parse(expression);
  const seen = outcomesOf(expression);
  return {
    program: {
      evaluate(variables) {
        const outcome: unknown = parsed({ ...variables });
        seen.add(typeof outcome === 'boolean' ? outcome : typeof outcome);
        return outcome;
      },
    },
  };
}

/** What an expression was evaluated to in this process: true, false, or the type of other values. */
export function outcomesOf(expression: string): Set<boolean | string> {
  const known = outcomes.get(expression) ?? new Set();
  outcomes.set(expression, known);
  return known;
}

const outcomes = new Map<string, Set<boolean | string>>();

/** The language with the libraries of Kubernetes that rules of this project use. */
export function celEnvironment(variables: readonly string[]): Environment {
  const environment = new Environment({ enableOptionalTypes: true });
  registerLibraries(environment);
  for (const name of variables) environment.registerVariable(name, 'dyn');
  return environment;
}

/** The same for rules of a schema: `self` and what it was have the type that the schema gives them. */
export function schemaEnvironment(schema: Json): Environment {
  const environment = new Environment({ enableOptionalTypes: true });
  registerLibraries(environment);
  let types = 0;
  const typeOf = (its: Json | undefined, isRoot = false): string => {
    if (!isObject(its) || its['x-kubernetes-preserve-unknown-fields'] === true) return 'dyn';
    const { type, items, properties, additionalProperties: others } = its;
    if (type === 'array') return `list<${typeOf(items)}>`;
    if (type !== 'object') return scalarTypes.get(String(type)) ?? 'dyn';
    if (isObject(others)) return `map<string, ${typeOf(others)}>`;
    if (!isObject(properties)) return 'dyn';
    types += 1;
    const name = `Schema${types}`;
    const members = Object.entries(properties).map(([member, inner]) => [member, typeOf(inner)] as const);
    const own = isRoot ? { apiVersion: 'string', kind: 'string', metadata: 'dyn' } : {};
    environment.registerType(name, { schema: { ...Object.fromEntries(members), ...own } });
    return name;
  };
  const self = typeOf(schema, true);
  return environment.registerVariable('self', self).registerVariable('oldSelf', self);
}

const scalarTypes: ReadonlyMap<string, string> = new Map([
  ['string', 'string'],
  ['integer', 'int'],
  ['number', 'double'],
  ['boolean', 'bool'],
]);

class SetsLibrary {}

function registerLibraries(environment: Environment): void {
  environment
    .registerOperator('optional == optional', (one: Optional, other: Optional) => {
      if (!one.hasValue() || !other.hasValue()) return one.hasValue() === other.hasValue();
      return isSame(one.value(), other.value());
    })
    .registerFunction('string.find(string): string', (text: string, pattern: string) => {
      return new RegExp(pattern, 'u').exec(text)?.[0] ?? '';
    })
    .registerFunction('string.findAll(string): list<string>', (text: string, pattern: string) => {
      return [...text.matchAll(new RegExp(pattern, 'gu'))].map(([found]) => found);
    })
    .registerFunction('string.replace(string, string): string', (text: string, old: string, by: string) => {
      return text.replaceAll(old, by);
    })
    .registerFunction('list.isSorted(): bool', (list: readonly unknown[]) => {
      return list.every((item, index) => index === 0 || isOrdered(list[index - 1], item));
    })
    .registerFunction('list.indexOf(dyn): int', (list: readonly unknown[], item: unknown) => {
      return BigInt(list.findIndex((other) => isSame(other, item)));
    })
    .registerType('SetsLibrary', { ctor: SetsLibrary, fields: {} })
    .registerConstant('sets', 'SetsLibrary', new SetsLibrary())
    .registerFunction(
      'SetsLibrary.contains(list, list): bool',
      (_: unknown, all: unknown[], some: unknown[]) => {
        return holds(all, some);
      },
    )
    .registerFunction(
      'SetsLibrary.equivalent(list, list): bool',
      (_: unknown, one: unknown[], other: unknown[]) => {
        return holds(one, other) && holds(other, one);
      },
    )
    .registerFunction(
      'SetsLibrary.intersects(list, list): bool',
      (_: unknown, one: unknown[], other: unknown[]) => {
        return one.some((item) => holds(other, [item]));
      },
    );
}

function holds(all: readonly unknown[], some: readonly unknown[]): boolean {
  return some.every((item) => all.some((other) => isSame(other, item)));
}

function isSame(one: unknown, other: unknown): boolean {
  return one === other || textOf(one) === textOf(other);
}

function isOrdered(one: unknown, other: unknown): boolean {
  if (typeof one === 'string' && typeof other === 'string') return one <= other;
  return Number(one) <= Number(other);
}

/** The same text for the same value, whatever the order of its members. */
function textOf(value: unknown): string {
  return JSON.stringify(value, (_, member: unknown) => {
    if (typeof member === 'bigint') return `${member}n`;
    if (typeof member !== 'object' || member === null || Array.isArray(member)) return member;
    return Object.fromEntries(Object.entries(member).sort(([one], [other]) => (one < other ? -1 : 1)));
  });
}

export function firstLine(text: string): string {
  return text.split('\n')[0] ?? '';
}
