import type { Json, JsonObject } from './json.ts';

/** What is wrong with one field, as `details.causes` of a Status names it. */
export interface Cause {
  readonly type:
    | 'FieldValueRequired'
    | 'FieldValueDuplicate'
    | 'FieldValueInvalid'
    | 'FieldValueForbidden'
    | 'FieldValueNotSupported'
    | 'FieldValueTooLong'
    | 'FieldValueTooMany'
    | 'FieldValueTypeInvalid'
    | 'FieldManagerConflict';
  readonly field: string;
  readonly message: string;
}

interface Named {
  readonly group: string;
  /** Plural; for `invalid` the kind. */
  readonly resource: string;
  readonly name?: string;
}

/** An answer that is no success, in the shape of `Status` of meta/v1. */
export class ApiError extends Error {
  override readonly name = 'ApiError';
  readonly code: number;
  readonly reason: string;
  readonly details: JsonObject | null;
  /** Seconds. */
  readonly retryAfter: number | null;

  constructor(
    code: number,
    reason: string,
    message: string,
    details: JsonObject | null = null,
    retryAfter: number | null = null,
  ) {
    super(message);
    this.code = code;
    this.reason = reason;
    this.details = details;
    this.retryAfter = retryAfter;
  }

  status(): JsonObject {
    return {
      kind: 'Status',
      apiVersion: 'v1',
      metadata: {},
      status: 'Failure',
      message: this.message,
      ...(this.reason !== '' && { reason: this.reason }),
      ...(this.details && { details: this.details }),
      code: this.code,
    };
  }
}

/** An answer in words: what is in front of the API says it, and no client finds a reason in it. */
export class PlainError extends Error {
  override readonly name = 'PlainError';
  readonly code: number;

  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
}

/** Of a group or version that nobody serves, or a custom resource that is not defined. */
export function pageNotFound(): PlainError {
  return new PlainError(404, '404 page not found');
}

export function notFound(what: Named): ApiError {
  return new ApiError(404, 'NotFound', `${shown(what)} "${what.name}" not found`, detailsOf(what));
}

/** There is no such resource, or no such version of it. */
export function noSuchResource(): ApiError {
  return new ApiError(404, 'NotFound', 'the server could not find the requested resource', {});
}

export function alreadyExists(what: Named): ApiError {
  return new ApiError(409, 'AlreadyExists', `${shown(what)} "${what.name}" already exists`, detailsOf(what));
}

export function conflict(what: Named, why: string): ApiError {
  const text = `Operation cannot be fulfilled on ${shown(what)} "${what.name}": ${why}`;
  return new ApiError(409, 'Conflict', text, detailsOf(what));
}

export const staleObject =
  'the object has been modified; please apply your changes to the latest version and try again';

export function forbidden(what: Named, why: string): ApiError {
  const name = what.name ? ` "${what.name}"` : '';
  return new ApiError(403, 'Forbidden', `${shown(what)}${name} is forbidden: ${why}`, detailsOf(what));
}

export function badRequest(message: string): ApiError {
  return new ApiError(400, 'BadRequest', message);
}

export function otherName(said: string, name: string): ApiError {
  return badRequest(`the name of the object (${said}) does not match the name on the URL (${name})`);
}

export function unauthorized(): ApiError {
  return new ApiError(401, 'Unauthorized', 'Unauthorized');
}

/** @param what `resource` is the kind */
export function invalid(what: Named, causes: readonly Cause[]): ApiError {
  const texts = causes.map(({ field, message }) => (field === '' ? message : `${field}: ${message}`));
  const all = texts.length === 1 ? texts[0] : `[${texts.join(', ')}]`;
  return new ApiError(422, 'Invalid', `${shown(what)} "${what.name ?? ''}" is invalid: ${all}`, {
    ...detailsOf(what),
    causes: causes.map(({ type, message, field }) => ({ reason: type, message, field })),
  });
}

/** What a JSON patch gets whose `test` fails, or whose path leads nowhere: which of them is not told. */
export function patchDoesNotApply(): ApiError {
  const message = 'the server rejected our request due to an error in our request';
  return new ApiError(422, 'Invalid', message, {});
}

export function expired(message: string): ApiError {
  return new ApiError(410, 'Expired', message);
}

/** A page of a list that cannot be made any more; the next token goes on at the newest version. */
export class ExpiredContinue extends ApiError {
  readonly #next: string;

  constructor(next: string) {
    const message =
      'The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. That list is not consistent.';
    super(410, 'Expired', message);
    this.#next = next;
  }

  override status(): JsonObject {
    return { ...super.status(), metadata: { continue: this.#next } };
  }
}

/** What is passed on as it came from what is below the API: no reason stands in it. */
export function unexplained(message: string): ApiError {
  return new ApiError(500, '', message);
}

const busy = 'the server has received too many requests and has asked us to try again later';

export function tooManyRequests(seconds: number, message = busy): ApiError {
  return new ApiError(429, 'TooManyRequests', message, { retryAfterSeconds: seconds }, seconds);
}

/** So the real one answers several mistakes of a client, which must not be taken for one of its own: without a reason. */
export function reasonless(message: string): ApiError {
  return new ApiError(500, '', message);
}

export function internalError(message: string): ApiError {
  return new ApiError(500, 'InternalError', `Internal error occurred: ${message}`, { causes: [{ message }] });
}

export function methodNotAllowed(): ApiError {
  const message = 'the server does not allow this method on the requested resource';
  return new ApiError(405, 'MethodNotAllowed', message, {});
}

/** @param offered media types */
export function notAcceptable(offered: readonly string[]): ApiError {
  const message = `406: Not Acceptable\n\nAvailable representations: ${offered.join(', ')}`;
  return new ApiError(406, 'NotAcceptable', message, {});
}

export function unsupportedMediaType(accepted: readonly string[]): ApiError {
  const list = accepted.join(', ');
  const message = `the body of the request was in an unknown format - accepted media types include: ${list}`;
  return new ApiError(415, 'UnsupportedMediaType', message);
}

/** How a value stands in the text of a cause. */
function quoted(value: Json | undefined): string {
  if (typeof value === 'string') return JSON.stringify(value);
  return value === undefined ? 'null' : JSON.stringify(value);
}

export function required(field: string, detail = ''): Cause {
  return {
    type: 'FieldValueRequired',
    field,
    message: detail === '' ? 'Required value' : `Required value: ${detail}`,
  };
}

export function invalidValue(field: string, value: Json | undefined, detail: string): Cause {
  return { type: 'FieldValueInvalid', field, message: `Invalid value: ${quoted(value)}: ${detail}` };
}

/** An update of a type that is never changed blindly. */
export function missingVersion(): Cause {
  const message = 'Invalid value: 0x0: must be specified for an update';
  return { type: 'FieldValueInvalid', field: 'metadata.resourceVersion', message };
}

export function duplicate(field: string, value: Json): Cause {
  return { type: 'FieldValueDuplicate', field, message: `Duplicate value: ${quoted(value)}` };
}

export function forbiddenField(field: string, detail: string): Cause {
  return { type: 'FieldValueForbidden', field, message: `Forbidden: ${detail}` };
}

export function tooLong(field: string, most: number): Cause {
  return { type: 'FieldValueTooLong', field, message: `Too long: may not be more than ${most} bytes` };
}

export function tooMany(field: string, count: number, most: number): Cause {
  const message = `Too many: ${count}: must have at most ${most} items`;
  return { type: 'FieldValueTooMany', field, message };
}

export function notSupported(field: string, value: Json | undefined, known: readonly string[]): Cause {
  const list = known.map((word) => `"${word}"`).join(', ');
  return {
    type: 'FieldValueNotSupported',
    field,
    message: `Unsupported value: ${quoted(value)}: supported values: ${list}`,
  };
}

function shown({ group, resource }: Named): string {
  return group === '' ? resource : `${resource}.${group}`;
}

function detailsOf({ group, resource, name }: Named): JsonObject {
  return { ...(name && { name }), ...(group !== '' && { group }), kind: resource };
}
