"""The intermediate representation: graph, layouts, rules, and the reader of jaxprs."""
