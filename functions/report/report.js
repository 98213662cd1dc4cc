"use strict";
{
  const form = document.getElementById("search");
  if (form) {
    const query = document.getElementById("query");
    const only = document.getElementById("only");
    const found = document.getElementById("found");
    const rows = [...document.querySelectorAll("#lines > tbody > tr")];
    const texts = rows.map((row) => row.textContent.toLowerCase());
    const kinds = rows.map((row) => (row.dataset.is || "").split(" "));
    const show = () => {
      const words = query.value.toLowerCase().split(/\s+/).filter(Boolean);
      let count = 0;
      rows.forEach((row, number) => {
        const fits =
          (!only.value || kinds[number].includes(only.value)) &&
          words.every((word) => texts[number].includes(word));
        row.hidden = !fits;
        count += fits;
      });
      found.textContent = `${count.toLocaleString("en")} rows`;
    };
    form.hidden = false;
    form.addEventListener("input", show);
    form.addEventListener("submit", (event) => event.preventDefault());
    show();
  }
}
