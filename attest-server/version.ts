/** Of the server and the CLI; the same as in package.json, which a test compares. */
export const version = '0.3.0';
