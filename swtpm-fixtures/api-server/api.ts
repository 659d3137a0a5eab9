import { setTimeout as delay } from 'node:timers/promises';
import type { Admission } from './admission.ts';
import { type ApiRequest, parseResourceRequest, parseTarget, type ResourceRequest } from './api-request.ts';
import { type Action, type Authorizer, refusalOf } from './authorizer.ts';
import { type DecodedBody, decodeBody, mediaTypeOf, parseJson } from './decode.ts';
import { type DeleteOptions, parseDeleteOptions } from './delete-options.ts';
import { discover, type VirtualResource, version } from './discovery.ts';
import { errorOf, type Faults } from './faults.ts';
import { isObject, type Json, type JsonObject, type KubeObject } from './json.ts';
import { checkReadable, listText } from './list.ts';
import { negotiate, type Representation, represent } from './media-types.ts';
import type { ObjectStore } from './object-store.ts';
import { type Caller, ObjectVerbs, type Outcome } from './object-verbs.ts';
import { describeApi } from './openapi.ts';
import type { RequestLog } from './request-log.ts';
import { keyOf, type ResourceType, tableOf } from './resource-type.ts';
import { matcherOf } from './selectors.ts';
import * as status from './status.ts';
import type { User } from './users.ts';
import { openWatch, type Watch, withObjects } from './watch.ts';

export type Answer =
  | {
      readonly code: number;
      readonly contentType: string;
      readonly text: string;
      /** Seconds. */
      readonly retryAfter?: number;
      /** For the header `Warning`. */
      readonly warnings?: readonly string[];
    }
  | { readonly code: 200; readonly watch: Watch; readonly resource: string }
  /** The connection ends without an answer. */
  | { readonly code: 0 };

/** A resource that is asked with POST and never stored. */
export interface Question extends VirtualResource {
  answer(body: JsonObject, user: User): JsonObject;
}

export interface ApiParts {
  readonly store: ObjectStore;
  /** Those of custom resources come and go. */
  readonly types: () => readonly ResourceType[];
  /** What stands at a path that is about no resource. */
  readonly pages: ReadonlyMap<string, Page>;
  /** Whether the API itself serves this group and version: what is missing there has another 404. */
  readonly isBuiltin: (group: string, version: string) => boolean;
  /** @throws ApiError 429 while the storage of a definition starts */
  readonly checkStorage: (type: ResourceType, verb: string) => void;
  readonly questions: readonly Question[];
  /** POST to a subresource that makes something else, such as a token. */
  readonly makers: readonly Maker[];
  readonly authorizer: Authorizer;
  readonly admission: Admission;
  readonly faults: Faults;
  readonly log: RequestLog;
  readonly now: () => number;
  /** An object of this type is new. */
  readonly made: (type: ResourceType, object: KubeObject) => void;
  /** An object of this type went for good. */
  readonly removed: (type: ResourceType, object: KubeObject) => void;
}

export interface Page {
  /** The one media type in which it is given. */
  readonly contentType: string;
  show(): JsonObject;
}

export interface Maker {
  readonly plural: string;
  readonly subresource: string;
  make(request: ResourceRequest, body: JsonObject, user: User): JsonObject;
}

/** The API behind its door: who asks is known, and an answer is made. */
export class Api {
  readonly #parts: ApiParts;
  readonly #verbs: ObjectVerbs;

  constructor(parts: ApiParts) {
    const { store, now, admission, log, made, removed } = parts;
    this.#parts = parts;
    this.#verbs = new ObjectVerbs({
      store,
      now,
      admission,
      made,
      removed,
      wrote: (write) => log.note(write),
    });
  }

  /** Never rejects. */
  async handle(request: ApiRequest): Promise<Answer> {
    let about: ResourceRequest | null = null;
    let answer: Answer;
    try {
      about = parseResourceRequest(request.method, request.target);
      answer = await this.#struck(request, about);
    } catch (error) {
      answer = answerOf(error);
    }
    const verb = about?.verb || request.method.toLowerCase();
    const resource = about === null ? '' : about.resource + (about.subresource && `/${about.subresource}`);
    this.#parts.log.count(request.user.name, verb, resource, answer.code);
    return answer;
  }

  async #struck(request: ApiRequest, about: ResourceRequest | null): Promise<Answer> {
    const { user } = request;
    const effects = this.#parts.faults.strike(user, about);
    for (const effect of effects) {
      if (effect.kind === 'latency') await delay(effect.ms, undefined, { ref: false });
      if (effect.kind === 'drop') return { code: 0 };
      const error = errorOf(effect, about);
      if (error !== null) throw error;
    }
    const answer = this.#answer(request, about);
    for (const effect of effects) {
      if (effect.kind === 'hang') await delay(effect.ms, undefined, { ref: false });
      if (effect.kind === 'drop_answer') return { code: 0 };
    }
    return answer;
  }

  #answer(request: ApiRequest, about: ResourceRequest | null): Answer {
    const { path } = parseTarget(request.target);
    const action: Action =
      about === null
        ? { verb: request.method === 'HEAD' ? 'get' : request.method.toLowerCase(), path }
        : { ...about, name: about.name || about.onlyName };
    this.#checkAllowed(request.user, action);
    if (about === null) return this.#plain(request, path);
    if (request.method === 'HEAD') throw status.methodNotAllowed();
    // First: what could not be answered is not done.
    const representation = negotiate(request.accept);
    return represented(this.#resource(request, about), representation);
  }

  #checkAllowed(user: User, action: Action): void {
    const { allowed, reason } = this.#parts.authorizer.authorize(user, action);
    if (allowed) return;
    const why = refusalOf(user, action, reason);
    if ('path' in action) throw new status.ApiError(403, 'Forbidden', `forbidden: ${why}`, {});
    throw status.forbidden(action, why);
  }

  #plain({ method, accept }: ApiRequest, path: string): Answer {
    if (healthPaths.has(path)) return textAnswer(200, 'ok');
    const page = this.#parts.pages.get(path);
    const answer = page === undefined ? this.#found(path) : jsonAnswer(200, page.show(), page.contentType);
    if (method !== 'GET' && !(method === 'HEAD' && path.startsWith('/openapi/'))) {
      throw status.methodNotAllowed();
    }
    if (page !== undefined && !accepts(accept, page.contentType)) {
      throw status.notAcceptable([page.contentType]);
    }
    return answer;
  }

  #found(path: string): Answer {
    if (path === '/version' || path === '/version/') return jsonAnswer(200, version);
    const its = path.replace(/\/$/, '');
    const types = this.#parts.types();
    const found = discover(its, types, this.#parts.questions) ?? describeApi(its, types);
    if (found === null) throw status.pageNotFound();
    return jsonAnswer(200, found);
  }

  #resource(request: ApiRequest, about: ResourceRequest): Answer {
    const { verb, group, resource, subresource } = about;
    const question = this.#parts.questions.find(
      (other) => other.group === group && other.plural === resource && other.version === about.version,
    );
    if (question !== undefined) {
      if (verb !== 'create') throw status.methodNotAllowed();
      return jsonAnswer(201, question.answer(neededBody(request), request.user));
    }
    const type = this.#parts
      .types()
      .find((other) => other.group === group && other.plural === resource && other.version === about.version);
    if (type === undefined) {
      throw this.#parts.isBuiltin(group, about.version) ? status.noSuchResource() : status.pageNotFound();
    }
    if (subresource !== '' && !type.subresources.includes(subresource)) throw status.noSuchResource();
    if (type.namespaced && about.namespace === '' && (about.name !== '' || verb === 'create')) {
      if (verb === 'create') throw status.badRequest('an empty namespace may not be set during creation');
      throw status.noSuchResource();
    }
    const maker = this.#parts.makers.find(
      (other) => other.plural === resource && other.subresource === subresource && group === '',
    );
    if (maker !== undefined) {
      if (verb !== 'create') throw status.methodNotAllowed();
      return jsonAnswer(201, maker.make(about, neededBody(request), request.user));
    }
    this.#parts.checkStorage(type, verb);
    return this.#stored(request, about, type);
  }

  #stored(request: ApiRequest, about: ResourceRequest, type: ResourceType): Answer {
    const warnings: string[] = [];
    const caller: Caller = {
      user: request.user,
      warn: (texts) => warnings.push(...texts),
      manager: about.query.get('fieldManager') || managerOf(request.userAgent),
      checkMayCreate: () => this.#checkAllowed(request.user, { ...about, verb: 'create' }),
    };
    switch (about.verb) {
      case 'get':
        checkReadable(this.#parts.store, about.query);
        return jsonAnswer(200, this.#verbs.get(type, about));
      case 'list':
        return { code: 200, contentType: 'application/json', text: listText(this.#parts.store, type, about) };
      case 'watch':
        return { code: 200, watch: openWatch(this.#parts.store, type, about), resource: type.plural };
      case 'create': {
        if (about.name !== '') throw status.methodNotAllowed();
        const outcome = this.#verbs.create(type, about, caller, bodyOf(request));
        return outcomeAnswer(outcome, warnings);
      }
      case 'update': {
        if (about.name === '') throw status.methodNotAllowed();
        const outcome = this.#verbs.update(type, about, caller, bodyOf(request));
        return outcomeAnswer(outcome, warnings);
      }
      case 'patch': {
        if (about.name === '') throw status.methodNotAllowed();
        const patchType = mediaTypeOf(request.contentType);
        const patch = decodeBody(request.body, request.contentType);
        const outcome = this.#verbs.patch(type, about, caller, patchType, patch);
        return outcomeAnswer(outcome, warnings);
      }
      case 'delete': {
        if (about.subresource !== '') throw status.methodNotAllowed();
        const options = parseDeleteOptions(about, optionsOf(request));
        const outcome = this.#verbs.delete(type, about, caller, options);
        return outcomeAnswer(outcome, warnings);
      }
      case 'deletecollection':
        if (type.plural === 'namespaces') throw status.methodNotAllowed();
        return this.#deleteAll(about, type, caller, parseDeleteOptions(about, optionsOf(request)));
      case '':
        throw status.methodNotAllowed();
    }
  }

  #deleteAll(about: ResourceRequest, type: ResourceType, caller: Caller, options: DeleteOptions): Answer {
    // The list of before, as it is answered.
    const text = listText(this.#parts.store, type, about);
    const matches = matcherOf(about.query, type);
    const found = this.#parts.store
      .list(tableOf(type), about.namespace === '' ? '' : keyOf(about.namespace, ''))
      .map(([, { object }]) => object)
      .filter((object) => matches?.(object) ?? true);
    for (const { metadata } of found) {
      const one = { ...about, name: metadata.name, namespace: metadata.namespace ?? '' };
      this.#verbs.delete(type, one, caller, options);
    }
    return { code: 200, contentType: 'application/json', text };
  }
}

/** What is asked of the health of the server. */
const healthPaths: ReadonlySet<string> = new Set([
  ...['/livez', '/readyz', '/healthz'].flatMap((path) => [path, `${path}/ping`]),
  '/readyz/informer-sync',
]);

export function answerOf(error: unknown): Extract<Answer, { text: string }> {
  if (error instanceof status.PlainError) return textAnswer(error.code, `${error.message}\n`);
  const told =
    error instanceof status.ApiError
      ? error
      : status.internalError(error instanceof Error ? error.message : String(error));
  const answer = jsonAnswer(told.code, told.status());
  return told.retryAfter === null ? answer : { ...answer, retryAfter: told.retryAfter };
}

function outcomeAnswer({ code, object, warnings: own = [] }: Outcome, others: readonly string[]): Answer {
  const warnings = [...own, ...others];
  return { ...jsonAnswer(code, object), ...(warnings.length > 0 && { warnings }) };
}

function represented(answer: Answer, representation: Representation): Answer {
  const { format, metadataOnly } = representation;
  if (format === 'json' && !metadataOnly) return answer;
  const show = (object: Json) => (isObject(object) ? represent(object, representation) : '');
  if ('watch' in answer) {
    return metadataOnly ? { ...answer, watch: withObjects(answer.watch, show) } : answer;
  }
  if (!('text' in answer)) return answer;
  return { ...answer, contentType: `application/${format}`, text: show(parseJson(answer.text)) };
}

function accepts(accept: string, contentType: string): boolean {
  const types = accept.split(',').map(mediaTypeOf);
  return types.some((type) => ['', '*/*', 'application/*', contentType].includes(type));
}

function jsonAnswer(code: number, object: JsonObject, contentType = 'application/json') {
  return { code, contentType, text: JSON.stringify(object) };
}

function textAnswer(code: number, text: string) {
  return { code, contentType: 'text/plain; charset=utf-8', text };
}

function neededBody({ body, contentType }: ApiRequest): JsonObject {
  const { value: decoded } = decodeBody(body, contentType);
  if (!isObject(decoded)) throw status.badRequest('the request needs an object as its body');
  return decoded;
}

/** Of a write that is no patch. */
function bodyOf({ body, contentType }: ApiRequest): DecodedBody {
  if (body.length === 0) throw status.badRequest('the object provided is unrecognized: the body is empty');
  return decodeBody(body, contentType);
}

/** Null: nothing is said of it. */
function optionsOf({ body, contentType }: ApiRequest): Json {
  return decodeBody(body, contentType).value;
}

function managerOf(userAgent: string): string {
  return userAgent.split(/[/ ]/)[0] || 'unknown';
}
