"""The demo catalogue: generated items, pictures, descriptions and users, with the truth about them planted and written.

What is planted, and how (`GENERATOR_VERSION` in `plan` changes whenever any of it does):

- **Items** have two visual attributes, hue (8, on a ring) and pattern (6), shown in a rendered picture and nowhere
  else; two textual ones, use (8, on a ring) and material (6), told in title, categories and a written description and
  nowhere else; and a standing in each of 8 communities (standard normal), shown nowhere: only choices reveal it. All
  five, and popularity, are drawn independently, so no kind of evidence says anything about another. Form, size, light
  and ground of a picture and the mood and filler of a description are nuisances nobody chooses by.
- **Users** choose by looks, by description, by what their community likes (crowd), or by a mixture of the three. A
  taste is a favourite hue and pattern, a favourite use and material, or a community; every user has all three, a pure
  user acts on one. Each of the three affinities has mean 0 and variance 1 over items.
- **Choices** are drawn one after another without replacement, with probability proportional to popularity ·
  exp(strength · affinity); a few percent of them by popularity alone. Exposure is long-tailed (Zipf), activity
  lognormal.
- A few items lack the picture, a few all text. Times rise along each user's choices.

Every choice has a known probability given a taste, and pure tastes are finitely many, so the Bayes oracle is exact.
"""
