"""The style sheet of the HTML views: light and dark, all of it below the class `swplan`.

Colours follow the reader's system, and the theme of JupyterLab or VS Code where the fragment is shown in one.
"""

_LIGHT = (
    "--ink:#1c2024;--soft:#5c6670;--line:#e3e6ea;--fill:#f6f7f9;--track:#eceff2;--accent:#2f6fb5;--warm:#c8742a;"
    "--cell:#8db4dc;--paper:#ffffff;--deep:#7aa7d6;--rust:#e3a871;--moss:#6f9a63;--idle:#b9c0c8;--plum:#8d6cab"
)
_DARK = (
    "--ink:#e4e7ea;--soft:#9aa4ae;--line:#32383f;--fill:#1f2429;--track:#2a3037;--accent:#5b9ee0;--warm:#dc9350;"
    "--cell:#3f6f9f;--paper:#15181b;--deep:#37699c;--rust:#98602f;--moss:#7fae72;--idle:#565e66;--plum:#a98ac6"
)

STYLE = (
    f".swplan,.swplan-page{{{_LIGHT}}}"
    f"@media(prefers-color-scheme:dark){{.swplan,.swplan-page{{{_DARK}}}}}"
    f'[data-jp-theme-light="true"] .swplan,.vscode-light .swplan{{{_LIGHT}}}'
    f'[data-jp-theme-light="false"] .swplan,.vscode-dark .swplan{{{_DARK}}}'
    """
.swplan-page{margin:0;padding:2rem 1.25rem 4rem;background:var(--paper)}
.swplan{max-width:1080px;margin:0 auto;color:var(--ink);text-align:left;
  font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
.swplan h2{font-size:1.5em;font-weight:650;margin:.2em 0 .6em;letter-spacing:-.01em;overflow-wrap:anywhere}
.swplan h3{font-size:1.1em;font-weight:650;margin:2em 0 .6em;padding-bottom:.3em;border-bottom:1px solid var(--line)}
.swplan h4,.swplan h5{font-size:1em;font-weight:650;margin:1.2em 0 .3em}
.swplan p{margin:.4em 0 .9em;max-width:75ch;overflow-wrap:anywhere}
.swplan ul{margin:.3em 0;padding-left:1.2em;max-width:80ch}
.swplan li{margin:.15em 0;overflow-wrap:anywhere}
.swplan dl{display:grid;grid-template-columns:fit-content(14em) 1fr;gap:.25em 1.4em;margin:.5em 0}
.swplan dt{color:var(--soft);margin:0;overflow-wrap:anywhere}
.swplan dd{margin:0;overflow-wrap:anywhere}
.swplan .scroll{overflow-x:auto;max-width:100%}
.swplan table{border-collapse:collapse;width:100%;margin:.3em 0;font-size:13.5px;border:0;color:inherit;
  table-layout:auto}
.swplan th,.swplan td{padding:.36em 1.3em .36em 0;vertical-align:top;text-align:left;border:0;
  white-space:normal;overflow-wrap:break-word;max-width:340px;background:none}
.swplan th{color:var(--soft);font-weight:550;white-space:nowrap;border-bottom:1px solid var(--line)}
.swplan tbody tr{background:none;border-top:1px solid var(--line)}
.swplan tbody tr:first-child,.swplan tbody tr.why{border-top:0}
.swplan tr.why td{padding-top:0;padding-bottom:.6em;color:var(--soft);max-width:none;font-size:12.5px}
.swplan .number{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
.swplan th.number{white-space:nowrap}
.swplan .bars+p,.swplan .bars+.bars{margin-top:.9em}
.swplan th:last-child,.swplan td:last-child{padding-right:.3em}
.swplan .note{color:var(--soft);font-size:13px}
.swplan .bars{display:grid;grid-template-columns:max-content minmax(120px,1fr) max-content;gap:.35em 1em;
  align-items:center;font-size:13.5px;max-width:860px}
.swplan .bars .label{max-width:220px;overflow-wrap:anywhere}
.swplan .track{background:var(--track);border-radius:4px;height:12px;overflow:hidden}
.swplan .bar{height:100%;min-width:2px;border-radius:4px;background:var(--own,var(--accent))}
.swplan .value{font-variant-numeric:tabular-nums;white-space:pre}
.swplan details{margin:.4em 0}
.swplan summary{cursor:pointer;color:var(--soft);font-size:13.5px}
.swplan summary h3,.swplan summary h4{display:inline;border:0;color:var(--ink)}
.swplan svg{display:block;max-width:100%;height:auto;font:13px system-ui,-apple-system,"Segoe UI",sans-serif}
.swplan svg .level{fill:var(--accent);fill-opacity:.07;stroke:var(--accent);stroke-opacity:.45}
.swplan svg .core{fill:var(--paper);stroke:var(--line)}
.swplan svg .cell{fill:var(--cell)}
.swplan svg text{fill:var(--ink)}
.swplan svg .title{font-weight:600}
.swplan svg .axis{font-variant-numeric:tabular-nums}
.swplan svg .note{fill:var(--soft)}
.swplan svg.chart line{stroke:var(--line)}
.swplan svg.chart text{fill:var(--soft);font-size:12px;font-variant-numeric:tabular-nums}
.swplan svg.chart rect{fill:var(--own)}
.swplan svg.plot polyline{fill:none;stroke:var(--own);stroke-width:1.6}
.swplan svg.plot circle{fill:var(--own);fill-opacity:.72;stroke:var(--paper);stroke-width:.8}
.swplan .compute{--own:var(--accent)}.swplan .exchange{--own:var(--warm)}.swplan .later{--own:var(--deep)}
.swplan .later-exchange{--own:var(--rust)}.swplan .closing{--own:var(--moss)}.swplan .idle{--own:var(--idle)}
.swplan .data{--own:var(--plum)}.swplan .total{--own:var(--soft)}
.swplan .legend{display:flex;flex-wrap:wrap;gap:.2em 1.4em;font-size:13px;color:var(--soft);margin:.2em 0 .8em}
.swplan .legend i{display:inline-block;width:11px;height:11px;border-radius:3px;margin-right:.45em;
  background:var(--own)}
.swplan table.grid{width:auto}
.swplan table.grid td,.swplan table.grid th{padding:.4em .9em}
.swplan table.grid td{background:color-mix(in srgb,var(--warm) var(--heat,0%),transparent)}
.swplan table.grid .excluded{color:var(--soft);text-decoration:line-through}
.swplan table.grid .best{font-weight:700;outline:2px solid var(--accent);outline-offset:-2px}
@media print{.swplan details{display:block}}
"""
)
