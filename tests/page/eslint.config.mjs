// Lint of the report's scripts. They are joined into one, so names of one file serve another: tsc checks these.
import js from "@eslint/js";

const markup = ["innerHTML", "outerHTML", "insertAdjacentHTML", "srcdoc", "setHTMLUnsafe"];

export default [
  js.configs.recommended,
  {
    languageOptions: { ecmaVersion: 2022, sourceType: "script" },
    rules: {
      "no-undef": "off",
      "no-unused-vars": ["error", { vars: "local" }],
      "no-eval": "error",
      "no-implied-eval": "error",
      "no-new-func": "error",
      "no-script-url": "error",
      eqeqeq: "error",
      "no-var": "error",
      "prefer-const": "error",
      // Text of strangers must never be parsed as markup.
      "no-restricted-properties": ["error", ...markup.map((property) => ({ property })), { object: "document", property: "write" }],
    },
  },
];
